/** Spans, as whoever collects them takes them. */

import type { TraceParent } from "./trace_context.ts";

/** What a span is about: work of its own, a request that was received, or one that was sent. */
export type SpanKind = "internal" | "server" | "client";

/** Values that a span has beside its times; whole numbers are `bigint`, since a `number` is told as a fraction. */
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
