/** Makes text of a client's choosing safe to stand in a line of a log. */

/**
 * Whether a character can do harm in a log: controls (a line feed forges a line, an escape drives the
 * terminal), C1 controls, line separators, and the marks that turn the direction of writing.
 */
function isHarmful(code: number): boolean {
  if (code < 0x20) return true;
  if (code < 0x7f) return false;
  return code <= 0x9f || code === 0x2028 || code === 0x2029 || (code >= 0x202a && code <= 0x202e) ||
    (code >= 0x2066 && code <= 0x2069);
}

function escapeCharacter(code: number): string {
  if (code === 0x22) return '\\"';
  if (code === 0x5c) return "\\\\";
  if (code === 0x0a) return "\\n";
  if (code === 0x0d) return "\\r";
  if (code === 0x09) return "\\t";
  return "\\u" + code.toString(16).padStart(4, "0");
}

/**
 * Escapes what may not stand between double quotes: quotes, backslashes and harmful characters.
 *
 * The result is the inside of a JSON string, and good for text logs too. Harmless text comes back as it is,
 * at the cost of looking at it.
 */
export function escapeQuoted(text: string): string {
  let escaped = "";
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 0x22 && code !== 0x5c && !isHarmful(code)) continue;
    escaped += text.slice(copied, i) + escapeCharacter(code);
    copied = i + 1;
  }
  return copied === 0 ? text : escaped + text.slice(copied);
}

/** Escapes harmful characters only, for text that stands in a line without quotes around it. */
export function escapeControls(text: string): string {
  let escaped = "";
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (!isHarmful(code)) continue;
    escaped += text.slice(copied, i) + escapeCharacter(code);
    copied = i + 1;
  }
  return copied === 0 ? text : escaped + text.slice(copied);
}
