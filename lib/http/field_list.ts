/** Field values that are lists. */

/** The elements of a comma-separated list (RFC 9110 section 5.6.1); empty ones are left out. */
export function fieldTokens(value: string): string[] {
  const tokens: string[] = [];
  for (const part of value.split(",")) {
    const token = trimBlanks(part);
    if (token !== "") tokens.push(token);
  }
  return tokens;
}

/** A text without the spaces and tabs around it: `trim()` drops bytes that are part of a value, a pattern takes square time. */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
