/** Spans through Deno's built-in OpenTelemetry, without a package. */

import type { Span, SpanAttributes, SpanKind, TraceParent, Tracer } from "../observe/tracer.ts";
import { VERSION } from "../core/version.ts";

/** A span of the runtime: the part of the OpenTelemetry API that is used here. */
interface RuntimeSpan {
  spanContext(): { traceId: string; spanId: string; traceFlags: number };
  updateName(name: string): unknown;
  setAttributes(attributes: SpanAttributes): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  end(wallTime: number): void;
}

interface RuntimeContext {
  getValue(key: symbol): unknown;
}

interface RuntimeTracer {
  startSpan(
    name: string,
    options: { kind: number; startTime: number; attributes: SpanAttributes },
    context: RuntimeContext,
  ): RuntimeSpan;
}

/** The part of `Deno.telemetry` that is used here; the full types would need a package. */
interface Telemetry {
  readonly tracerProvider: { getTracer(name: string, version: string): RuntimeTracer };
  readonly contextManager: { active(): RuntimeContext };
}

const KINDS: Readonly<Record<SpanKind, number>> = { internal: 0, server: 1, client: 2 };
const ERROR = 2;
/** The key under which OpenTelemetry keeps a span in a context. */
const SPAN_KEY = Symbol.for("OpenTelemetry Context Key SPAN");
/** The global that Deno sets if it collects telemetry (`OTEL_DENO=true`). */
const REGISTERED = Symbol.for("opentelemetry.js.api.1");

/** The runtime's tracer; `null` if it does not collect spans. */
export function denoTracer(): Tracer | null {
  const { telemetry } = Deno as unknown as { telemetry?: Telemetry };
  if (telemetry === undefined || !(REGISTERED in globalThis)) return null;
  const { tracerProvider, contextManager } = telemetry;
  return new DenoTracer(tracerProvider.getTracer("lbproxy", VERSION), contextManager);
}

class DenoTracer implements Tracer {
  readonly #tracer: RuntimeTracer;
  readonly #contexts: Telemetry["contextManager"];

  constructor(tracer: RuntimeTracer, contexts: Telemetry["contextManager"]) {
    this.#tracer = tracer;
    this.#contexts = contexts;
  }

  begin(
    name: string,
    kind: SpanKind,
    parent: Span | TraceParent | null,
    startTime: number,
    attributes: SpanAttributes,
  ): Span {
    const options = { kind: KINDS[kind], startTime, attributes };
    return new DenoSpan(this.#tracer.startSpan(name, options, this.#contextOf(kind, parent)));
  }

  // `Deno.serve` has already begun a span, which is part of the client's trace.
  #contextOf(kind: SpanKind, parent: Span | TraceParent | null): RuntimeContext {
    if (parent instanceof DenoSpan) return parent.holder;
    if (kind === "server") {
      const active = this.#contexts.active();
      if (active.getValue(SPAN_KEY) !== undefined) return active;
    }
    if (parent === null) return NOTHING;
    const { traceId, spanId } = parent as TraceParent;
    const context = { traceId, spanId, traceFlags: 1, isRemote: true };
    return holderOf({ spanContext: () => context });
  }
}

function holderOf(span: unknown): RuntimeContext {
  return { getValue: (key) => key === SPAN_KEY ? span : undefined };
}

const NOTHING: RuntimeContext = { getValue: () => undefined };

class DenoSpan implements Span {
  readonly holder: RuntimeContext;
  readonly #span: RuntimeSpan;

  constructor(span: RuntimeSpan) {
    this.#span = span;
    this.holder = holderOf(span);
  }

  get context(): TraceParent {
    const { traceId, spanId } = this.#span.spanContext();
    return { traceId, spanId, sampled: true };
  }

  rename(name: string): void {
    this.#span.updateName(name);
  }

  set(attributes: SpanAttributes): void {
    this.#span.setAttributes(attributes);
  }

  end(wallTime: number, error: string | null): void {
    if (error !== null) {
      this.#span.setAttributes({ "error.type": error });
      this.#span.setStatus({ code: ERROR, message: error });
    }
    this.#span.end(wallTime);
  }
}
