/** Spans, as whoever collects them takes them. */

import type { Random } from "../core/random.ts";

/** What a span is about: work of its own, a request that was received, or one that was sent. */
export type SpanKind = "internal" | "server" | "client";

/** Values that a span has in addition to its times; whole numbers are `bigint`, since a `number` is told as a fraction. */
export type SpanAttributes = Readonly<Record<string, string | bigint>>;

/** A span that has begun. */
export interface Span {
  /** Its ids. */
  readonly context: TraceParent;
  /** Calls it something else. */
  rename(name: string): void;
  /** Adds values. */
  set(attributes: SpanAttributes): void;
  /**
   * Ends it.
   *
   * @param wallTime milliseconds since 1970-01-01 UTC
   * @param error what has failed; `null` when nothing has
   */
  end(wallTime: number, error: string | null): void;
}

/** Begins spans. */
export interface Tracer {
  /**
   * Begins a span.
   *
   * @param parent the span that it is part of, one of another program, or `null` where a trace begins
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

// The fields by which a trace goes from one program to the next (W3C Trace Context).

/** What `traceparent` says. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** The span of whoever has sent it; 16 hexadecimal digits. */
  readonly spanId: string;
  /** Whether whoever has sent it keeps the trace. */
  readonly sampled: boolean;
}

// A later version may have more behind the flags (section 4 of "versioning of traceparent").
const PATTERN = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/** Reads the field; `null` when it is none, or not one that may be used. */
export function parseTraceparent(value: string | null): TraceParent | null {
  if (value === null) return null;
  const [, version, traceId, spanId, flags] = PATTERN.exec(value) ?? [];
  if (traceId === undefined || (version === "00" && value.length !== 55)) return null;
  return { traceId, spanId: spanId!, sampled: (parseInt(flags!, 16) & 1) === 1 };
}

/** Writes the field. */
export function formatTraceparent({ traceId, spanId, sampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** Makes an id of so many hexadecimal digits, a multiple of 8; never all zeros. */
export function makeTraceId(random: Random, digits: 16 | 32): string {
  let id = "";
  while (id.length < digits) id += Math.floor(random() * 2 ** 32).toString(16).padStart(8, "0");
  return /[^0]/.test(id) ? id : makeTraceId(random, digits);
}
