/** Shorter responses. */

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

/** Whether content of the type gets noticeably shorter; the type is in lower case and without parameters. */
function isCompressible(type: string): boolean {
  return type.startsWith("text/") || type.endsWith("+json") || type.endsWith("+xml") ||
    type.endsWith("+text") ||
    TYPES.has(type);
}

/** A coding of content that {@linkcode compress} knows. */
export type ContentCoding = NonNullable<CompressOptions["encodings"]>[number];

/** What {@linkcode compress} takes. */
export interface CompressOptions {
  /**
   * Codings, the preferred one first. Among those that the client prefers most, the first one is used. Brotli saves
   * more, and takes
   * the runtime five times as long as gzip. @default {["gzip", "br"]}
   */
  encodings?: readonly ("gzip" | "br")[];
  /** Content that is known to be shorter is not compressed. @default {1024} */
  minSize?: ByteSize;
  /**
   * Whether to compress a media type; gets it in lower case and without parameters, must not be async.
   *
   * @default {text, JSON, XML, scripts, SVG, fonts without a coding of their own, and the like}
   */
  types?: (type: string) => boolean;
}

/** Names of the runtime for the codings. */
const FORMATS: Readonly<Record<ContentCoding, string>> = { gzip: "gzip", br: "brotli" };

const OPTIONS = object<CompressOptions>({
  encodings: list(word(Object.keys(FORMATS)), "an array of codings"),
  minSize: byteSize(),
  types: FUNCTION,
}, "an object with encodings, minSize and types");

/**
 * Compresses content of servers for clients that can read it.
 *
 * Left alone is what is coded already, what is too short, parts (206), what `Cache-Control: no-transform` forbids to
 * change, what `X-Accel-Buffering: no` asks to forward unchanged, and responses that filters make. Each piece is
 * flushed as it comes, so events (`text/event-stream`) are not late. `Vary: Accept-Encoding` is added, and strong
 * `ETag`s become weak.
 *
 * A page that has a secret and repeats what a request says tells the secret by its length (BREACH): leave those out, by
 * `no-transform`.
 *
 * @throws {TypeError} when an option cannot be read
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
    // Whether this client gets it compressed or not: a cache must know that others may. A response to HEAD is like that to GET.
    responseFilter: (response) => {
      if (fits(response) && !isShort(response, minBytes)) addVary(response.headers, "Accept-Encoding");
    },
    responseBodyFilter: (body, ctx, response) => {
      if (!fits(response) || isShort(response, minBytes)) return;
      const coding = chooseCoding(ctx, encodings);
      if (coding === null) return;
      response.headers.set("content-encoding", coding);
      // The types of TypeScript do not have Brotli yet.
      const stream = new CompressionStream(FORMATS[coding] as CompressionFormat);
      return body.pipeThrough(stream) as ReadableStream<Uint8Array<ArrayBuffer>>;
    },
  });
}

/** Whether the content is whole, and may be changed. */
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

/** What the client likes best of ours; `null` when that is the content as it is. */
function chooseCoding(
  { request }: RequestContext,
  encodings: readonly ContentCoding[],
): ContentCoding | null {
  const accepted = fieldTokens(request.headers.get("accept-encoding") ?? "");
  // Without the field anything goes (RFC 9110 section 12.5.3), and clients that do not send it can read nothing.
  if (accepted.length === 0 || forbidsChange(request.headers.get("cache-control"))) return null;
  // Of several that are liked alike the negotiation takes the client's first, and no client means that by its order.
  const rank = (text: string): number => {
    const place = encodings.indexOf(text.split(";")[0]!.trim().toLowerCase() as ContentCoding);
    return place < 0 ? encodings.length : place;
  };
  const ordered = accepted.toSorted((one, other) => rank(one) - rank(other)).join(", ");
  const headers = new Headers({ "accept-encoding": ordered });
  const chosen = acceptsEncodings({ headers } as Request, ...encodings, "identity");
  return encodings.find((coding) => coding === chosen) ?? null;
}
