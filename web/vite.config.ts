import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** The list of files that `crates/phallama/src/server/page/files.rs` includes. */
function listFiles(): Plugin {
  const all = (folder: string): string[] =>
    readdirSync(folder).flatMap((name) => {
      const path = join(folder, name);
      return statSync(path).isDirectory() ? all(path) : [path];
    });
  let page = '';
  return {
    name: 'list-files',
    configResolved(config) {
      page = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      const names = all(page)
        .map((path) => relative(page, path))
        .sort();
      const row = (name: string) => `    ("${name}", include_bytes!("${name}").as_slice()),\n`;
      writeFileSync(join(page, 'files.in'), `&[\n${names.map(row).join('')}]\n`);
    },
  };
}

/** The licences of what is bundled, beside the page. */
function licences(): Plugin {
  const texts = ['dompurify', 'marked', 'preact'].map((name) => {
    const folder = join(import.meta.dirname, 'node_modules', name);
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    if (!file) throw new Error(`${name} has no licence file`);
    return `${name}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
  });
  return {
    name: 'licences',
    generateBundle() {
      const source = texts.join(`\n${'-'.repeat(80)}\n\n`);
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source });
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [licences(), listFiles()],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../crates/phallama/page',
    emptyOutDir: true,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
