/** Types of content that are text underneath. */

const TYPES: ReadonlySet<string> = new Set([
  ...["javascript", "x-javascript", "json", "x-ndjson", "xml", "wasm", "graphql", "rtf", "manifest+json"]
    .map((name) => `application/${name}`),
  ...["vnd.ms-fontobject", "x-www-form-urlencoded"].map((name) => `application/${name}`),
  ...["font/ttf", "font/otf", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon"],
]);

/** Whether content of the type gets noticeably shorter; the type is in lower case and without parameters. */
export function isCompressible(type: string): boolean {
  return type.startsWith("text/") || type.endsWith("+json") || type.endsWith("+xml") ||
    type.endsWith("+text") ||
    TYPES.has(type);
}
