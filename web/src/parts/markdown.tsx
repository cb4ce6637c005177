import DOMPurify from 'dompurify';
import { marked } from 'marked';
import { useMemo } from 'preact/hooks';

/** What an answer may contain. No images: fetching one would tell somebody about the answer. */
const TAGS = [
  ...['p', 'br', 'strong', 'em', 'del', 'code', 'pre', 'blockquote', 'hr', 'a', 'ul', 'ol', 'li'],
  ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td'],
];
const ATTRIBUTES = ['href', 'start', 'align', 'target', 'rel'];

const escaped = (text: string) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

// HTML of a model is text like any other; so are its images.
marked.use({ renderer: { html: ({ text }) => escaped(text), image: ({ raw }) => escaped(raw) } });

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer');
});

/** Markdown of a model: text that nobody vouches for. */
export function Markdown({ text }: { text: string }) {
  const html = useMemo(() => {
    const raw = marked.parse(text, { async: false, gfm: true, breaks: true });
    return DOMPurify.sanitize(raw, {
      ALLOWED_TAGS: TAGS,
      ALLOWED_ATTR: ATTRIBUTES,
      ALLOWED_URI_REGEXP: /^https?:/i,
      RETURN_TRUSTED_TYPE: true,
    });
  }, [text]);
  // Trusted by its type: only DOMPurify's policy makes one (Content-Security-Policy).
  return <div class="markdown" dangerouslySetInnerHTML={{ __html: html as unknown as string }} />;
}
