/** Compression of responses. */

import { byteSize, FUNCTION, list, object, word } from "../core/options.ts";
import { type ByteSize, parseByteSize } from "../core/units.ts";
import { checkedBoolean } from "../core/callback.ts";
import { type Filters, named, type ProxyResponse } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { fieldTokens } from "../http/field_lines.ts";
import { acceptsEncodings } from "@std/http/negotiation";
import { addVary, checkFilter } from "./filter_support.ts";

const TYPES: ReadonlySet<string> = new Set([
  ...["javascript", "x-javascript", "json", "x-ndjson", "xml", "wasm", "graphql", "rtf", "manifest+json"]
    .map((name) => `application/${name}`),
  ...["vnd.ms-fontobject", "x-www-form-urlencoded"].map((name) => `application/${name}`),
  ...["font/ttf", "font/otf", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon"],
]);

/** Whether content of a type is worth compressing; the type is in lower case and without parameters. */
function isCompressible(type: string): boolean {
  return type.startsWith("text/") || type.endsWith("+json") || type.endsWith("+xml") ||
    type.endsWith("+text") ||
    TYPES.has(type);
}

/** A content coding of {@linkcode compress}. */
export type ContentCoding = NonNullable<CompressOptions["encodings"]>[number];

/** Options of {@linkcode compress}. */
export interface CompressOptions {
  /**
   * Codings, the preferred one first. Among those that the client prefers most, the first one is used. Brotli saves
   * more, but takes five times as long as gzip in this runtime. @default {["gzip", "br"]}
   */
  encodings?: readonly ("gzip" | "br")[];
  /** Content with a declared length below this is not compressed. @default {1024} */
  minSize?: ByteSize;
  /**
   * Whether to compress a media type, which is in lower case and without parameters; must not be async.
   *
   * @default {text, JSON, XML, scripts, SVG, uncompressed fonts, and similar}
   */
  types?: (type: string) => boolean;
}

/** Names of the codings in the runtime. */
const FORMATS: Readonly<Record<ContentCoding, string>> = { gzip: "gzip", br: "brotli" };

const OPTIONS = object<CompressOptions>({
  encodings: list(word(Object.keys(FORMATS)), "an array of codings"),
  minSize: byteSize(),
  types: FUNCTION,
}, "an object with encodings, minSize and types");

/**
 * Compresses the content of servers for clients that accept it.
 *
 * Not compressed: content with a coding, short content, parts (206), responses with `Cache-Control: no-transform` or
 * `X-Accel-Buffering: no`, and responses made by filters. Each part of content is flushed when it arrives, so events
 * (`text/event-stream`) are not delayed. `Vary: Accept-Encoding` is added, and strong `ETag`s become weak.
 *
 * The length of a compressed page reveals a secret if the page has one and also repeats parts of the request (BREACH):
 * exclude such pages with `no-transform`.
 *
 * @throws {TypeError} when an option is invalid
 *
 * @example
 * ```ts
 * import { compress, defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [compress({ minSize: "4KiB" })],
 * });
 * ```
 */
export function compress(options: CompressOptions = {}): Filters {
  checkFilter("compress", OPTIONS, options);
  const { encodings = ["gzip", "br"], minSize = 1024, types = isCompressible } = options;
  const minBytes = parseByteSize(minSize)!;
  const fits = (response: ProxyResponse): boolean =>
    isWhole(response) && checkedBoolean(types(typeOf(response)));
  return named("compress", {
    // Added even if this client gets no compression: a cache must know that others may. A response to HEAD has the
    // fields of GET.
    responseFilter: (response) => {
      if (fits(response) && !isShort(response, minBytes)) addVary(response.headers, "Accept-Encoding");
    },
    responseBodyFilter: (body, ctx, response) => {
      if (!fits(response) || isShort(response, minBytes)) return;
      const coding = chooseCoding(ctx, encodings);
      if (coding === null) return;
      response.headers.set("content-encoding", coding);
      // TypeScript's types do not include Brotli yet.
      const stream = new CompressionStream(FORMATS[coding] as CompressionFormat);
      return body.pipeThrough(stream) as ReadableStream<Uint8Array<ArrayBuffer>>;
    },
  });
}

/** Whether the content is complete, and may be changed. */
function isWhole({ status, headers }: ProxyResponse): boolean {
  if (status < 200 || status === 204 || status === 205 || status === 206 || status === 304) return false;
  if (headers.has("content-encoding")) return false;
  if (headers.get("x-accel-buffering")?.toLowerCase() === "no") return false;
  return !forbidsChange(headers.get("cache-control"));
}

function forbidsChange(cacheControl: string | null): boolean {
  return cacheControl !== null &&
    fieldTokens(cacheControl).some((token) => token.toLowerCase() === "no-transform");
}

function isShort({ headers }: ProxyResponse, minBytes: number): boolean {
  const length = headers.get("content-length");
  return length !== null && Number(length) < minBytes;
}

function typeOf({ headers }: ProxyResponse): string {
  const type = headers.get("content-type") ?? "";
  const semicolon = type.indexOf(";");
  return (semicolon < 0 ? type : type.slice(0, semicolon)).trim().toLowerCase();
}

/** The coding that the client prefers; `null` for no coding. */
function chooseCoding(
  { request }: RequestContext,
  encodings: readonly ContentCoding[],
): ContentCoding | null {
  const accepted = fieldTokens(request.headers.get("accept-encoding") ?? "");
  // Without the field any coding is acceptable (RFC 9110 section 12.5.3), but clients that omit it cannot decode any.
  if (accepted.length === 0 || forbidsChange(request.headers.get("cache-control"))) return null;
  // Among equal preferences the negotiation uses the client's order, which clients do not intend as a preference.
  const rank = (text: string): number => {
    const place = encodings.indexOf(text.split(";")[0]!.trim().toLowerCase() as ContentCoding);
    return place < 0 ? encodings.length : place;
  };
  const ordered = accepted.toSorted((one, other) => rank(one) - rank(other)).join(", ").toLowerCase();
  const headers = new Headers({ "accept-encoding": ordered });
  const chosen = acceptsEncodings({ headers } as Request, ...encodings, "identity");
  return encodings.find((coding) => coding === chosen) ?? null;
}
