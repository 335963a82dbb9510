/** Values as they stand in error messages. */

const MAX_CHARS = 60;

/**
 * Writes a value so that its author recognises it, without giving away what may be a secret: PEM texts and
 * passwords in addresses are not shown.
 */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case "string":
      return describeText(value);
    case "function":
      return "a function";
    case "symbol":
      return "a symbol";
    case "bigint":
      return `${value}n`;
    case "object":
      return describeObject(value);
    default:
      return String(value);
  }
}

/** Names the kind of a value and nothing of its content, for what is secret whatever it looks like. */
export function describeKind(value: unknown): string {
  if (typeof value !== "string") return describeValue(value);
  return value === "" ? "an empty string" : `a string of ${value.length} characters`;
}

function describeText(text: string): string {
  if (text.includes("-----BEGIN")) return "PEM text";
  const shown = text.replace(/\/\/[^/@]*@/, "//***@");
  return JSON.stringify(shown.length > MAX_CHARS ? `${shown.slice(0, MAX_CHARS)}...` : shown);
}

function describeObject(value: object | null): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  if (value instanceof Promise) return 'a promise (an "await" is missing)';
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name;
  if (typeof name !== "string" || name === "" || name === "Object") return "an object";
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}
