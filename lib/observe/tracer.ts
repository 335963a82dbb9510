/** Spans, in the form for trace collectors. */

import type { Random } from "../core/random.ts";

/** Kind of a span: internal work, a received request, or a sent request. */
export type SpanKind = "internal" | "server" | "client";

/** Attributes of a span; whole numbers are `bigint`, since a `number` is exported as a fraction. */
export type SpanAttributes = Readonly<Record<string, string | bigint>>;

/** A started span. */
export interface Span {
  /** Its ids. */
  readonly context: TraceParent;
  /** Changes the name. */
  rename(name: string): void;
  /** Adds attributes. */
  set(attributes: SpanAttributes): void;
  /**
   * Ends the span.
   *
   * @param wallTime milliseconds since 1970-01-01 UTC
   * @param error the failure; `null` without one
   */
  end(wallTime: number, error: string | null): void;
}

/** Starts spans. */
export interface Tracer {
  /**
   * Starts a span.
   *
   * @param parent the parent span, also one of another program, or `null` for the root of a trace
   * @param wallTime milliseconds since 1970-01-01 UTC
   */
  begin(
    name: string,
    kind: SpanKind,
    parent: Span | TraceParent | null,
    wallTime: number,
    attributes: SpanAttributes,
  ): Span;
}

// Fields that propagate a trace between programs (W3C Trace Context).

/** The content of `traceparent`. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** The span of the sender; 16 hexadecimal digits. */
  readonly spanId: string;
  /** Whether the sender records the trace. */
  readonly sampled: boolean;
}

// A later version may have more content after the flags (section 4 of "versioning of traceparent").
const PATTERN = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/** Parses the field; `null` if it is missing or invalid. */
export function parseTraceparent(value: string | null): TraceParent | null {
  if (value === null) return null;
  const [, version, traceId, spanId, flags] = PATTERN.exec(value) ?? [];
  if (traceId === undefined || (version === "00" && value.length !== 55)) return null;
  return { traceId, spanId: spanId!, sampled: (parseInt(flags!, 16) & 1) === 1 };
}

/** Formats the field. */
export function formatTraceparent({ traceId, spanId, sampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** Makes an id of that number of hexadecimal digits, a multiple of 8; never all zeros. */
export function makeTraceId(random: Random, digits: 16 | 32): string {
  let id = "";
  while (id.length < digits) id += Math.floor(random() * 2 ** 32).toString(16).padStart(8, "0");
  return /[^0]/.test(id) ? id : makeTraceId(random, digits);
}
