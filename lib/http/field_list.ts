/** Field values that are lists. */

/** The elements of a comma-separated list (RFC 9110 section 5.6.1); empty ones are left out. */
export function fieldTokens(value: string): string[] {
  const tokens: string[] = [];
  for (const part of value.split(",")) {
    const token = part.trim();
    if (token !== "") tokens.push(token);
  }
  return tokens;
}
