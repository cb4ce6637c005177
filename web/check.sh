#!/usr/bin/env bash
# The page from its sources: types, form, that the committed files are what the sources give, and its size.
# `web/check.sh --write` puts what the sources give in the committed files' place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
committed=../crates/phallama/page
gzip_max=$((150 * 1024))

node_modules/.bin/tsc --noEmit
node_modules/.bin/prettier --check --log-level warn src tests ./*.mjs ./*.ts index.html
if node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
  built=$(mktemp -d)
  trap 'rm -rf "$built"' EXIT
  node_modules/.bin/vite build --logLevel warn --outDir "$built" --emptyOutDir
  if [ "${1:-}" = --write ]; then
    rm -rf "$committed" && cp -r "$built" "$committed" && chmod -R u=rwX,go=rX "$committed"
  else
    diff -r "$built" "$committed" ||
      { echo "error: $committed is not what web/ gives; run web/check.sh --write" >&2; exit 1; }
  fi
else
  echo "NOT TESTED: that $committed is what web/ gives: Vite needs Node 20.19, here is $(node --version)" >&2
fi

size=$(find "$committed" -type f ! -name files.in -exec gzip -9c {} + | wc -c)
echo "the page: $size bytes in gzip, at most $gzip_max"
[ "$size" -le "$gzip_max" ]
