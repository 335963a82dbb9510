/** Composes filter sets once into one, so that a request has at most one function per phase. */

import { messageOf, refusePromise } from "../core/callback.ts";
import { HeaderFields } from "../http/header_fields.ts";
import { withHead } from "../http/make_response.ts";
import { hasNoContent } from "../http/message.ts";
import {
  FILTER_PHASES,
  type FilteredContent,
  type Filters,
  KEEPS_LENGTH,
  type ProxyResponse,
  REQUEST_ID,
  type RequestNaming,
} from "./filters.ts";
import type { RequestContext } from "./request_context.ts";

type Phase = keyof Filters;
type Bindable = (this: unknown, ...args: never[]) => unknown;
type Bytes = ReadableStream<Uint8Array<ArrayBuffer>>;
/** The functions of one phase, in execution order. */
type Collect = <Name extends Phase>(phase: Name) => readonly NonNullable<Filters[Name]>[];

/** Response phases, which run in reverse order. */
const RESPONSE_PHASES: ReadonlySet<Phase> = new Set<Phase>([
  "upstreamResponseFilter",
  "responseFilter",
  "responseBodyFilter",
  "failToProxy",
  "localReplyFilter",
  "logging",
]);

/** Composes filter sets; phases that no set has are absent. */
export function composeFilters(sets: readonly (Filters & RequestNaming)[]): Filters & RequestNaming {
  const collect: Collect = (phase) => {
    const found = sets.filter((set) => set[phase] !== undefined)
      // Bound to its set, which may be an object with methods.
      .map((set) => sets.length === 1 ? set[phase]! : (set[phase] as Bindable).bind(set))
      .map((filter) => filter as NonNullable<Filters[typeof phase]>);
    return RESPONSE_PHASES.has(phase) ? found.reverse() : found;
  };
  const naming = sets.find((set) => set[REQUEST_ID] !== undefined);
  const composed: Partial<Record<Phase | typeof REQUEST_ID, unknown>> = {};
  if (naming !== undefined) composed[REQUEST_ID] = naming[REQUEST_ID];
  for (const phase of FILTER_PHASES) {
    const functions = collect(phase);
    if (functions.length === 1) composed[phase] = functions[0];
    else if (functions.length > 1) composed[phase] = composePhase(phase, collect);
  }
  return Object.freeze(composed as Filters);
}

function composePhase(phase: Phase, collect: Collect): unknown {
  switch (phase) {
    case "newContext": {
      const makers = collect("newContext");
      return (request: Request) => makers.map((make) => refusePromise(make(request))).reduce(mergeStates);
    }
    case "requestFilter":
    case "upstreamPeer":
    case "failToProxy":
      return runInTurn(collect(phase) as readonly Step<unknown, unknown>[], true);
    case "upstreamRequestFilter":
    case "failToConnect":
      return runInTurn(collect(phase) as readonly Step<unknown, unknown>[], false);
    case "localReplyFilter":
      return composeLocalReplyFilters(collect("localReplyFilter"));
    case "upstreamResponseFilter":
    case "responseFilter":
      return composeResponseFilters(collect(phase));
    case "requestBodyFilter":
      return composeBodyFilters(collect(phase));
    case "responseBodyFilter":
      return composeBodyFilters(collect(phase));
    case "logging":
      return composeLogging(collect(phase));
  }
}

/**
 * Merges two states: the one that exists, or one object with the members of both; those of the second take precedence.
 *
 * @throws {TypeError} when there are two and one of them is not an object
 */
export function mergeStates(first: unknown, second: unknown): unknown {
  if (first === undefined) return second;
  if (second === undefined) return first;
  if (!isObject(first) || !isObject(second)) {
    throw new TypeError("it must return an object where several filter sets have a newContext");
  }
  return { ...first, ...second };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** A function of a phase. */
type Step<Subject, Context> = (subject: Subject, ctx: Context) => unknown;

/**
 * Composes functions into one.
 *
 * @param stops whether the first result ends the sequence; otherwise results are ignored
 */
function runInTurn<Subject, Context>(
  steps: readonly Step<Subject, Context>[],
  stops: boolean,
): Step<Subject, Context> {
  const run = (from: number, subject: Subject, ctx: Context): unknown => {
    for (let i = from; i < steps.length; i++) {
      const result = steps[i]!(subject, ctx);
      if (result instanceof Promise) return resume(i + 1, subject, ctx, result);
      if (stops && result !== undefined && result !== null) return result;
    }
    return undefined;
  };
  const resume = async (next: number, subject: Subject, ctx: Context, pending: Promise<unknown>) => {
    const result = await pending;
    if (stops && result !== undefined && result !== null) return result;
    return await run(next, subject, ctx);
  };
  return (subject, ctx) => run(0, subject, ctx);
}

/** Filters must not be async: the response does not wait. */
function composeLocalReplyFilters(
  filters: readonly NonNullable<Filters["localReplyFilter"]>[],
): NonNullable<Filters["localReplyFilter"]> {
  return (response, ctx) => {
    for (const filter of filters) refusePromise(filter(response, ctx));
  };
}

type ResponseFilter = NonNullable<Filters["responseFilter"]>;

/** The head of a new response for the following filters. */
function headOf(response: Response): ProxyResponse {
  const { status, statusText, headers } = response;
  return { status, statusText, headers: new HeaderFields(headers) };
}

/** The response with the head that filters have edited; removes content that its status does not allow. */
function withoutContent(response: Response, head: ProxyResponse): Response {
  if (!hasNoContent(head.status)) return withHead(response, head);
  response.body?.cancel().catch(() => {});
  return withHead(new Response(null, { status: head.status }), head);
}

/** Composes filters into one. The filters after one that replaces the response edit the new response. */
function composeResponseFilters(filters: readonly ResponseFilter[]): ResponseFilter {
  type Context = Parameters<ResponseFilter>[1];
  const run = (
    from: number,
    replaced: Response | null,
    head: ProxyResponse,
    ctx: Context,
  ): Response | void | Promise<Response | void> => {
    let made = replaced;
    let current = head;
    for (let i = from; i < filters.length; i++) {
      let result: ReturnType<ResponseFilter>;
      try {
        result = filters[i]!(current, ctx);
      } catch (error) {
        drop(made);
        throw error;
      }
      if (result instanceof Promise) return resume(i + 1, made, current, ctx, result);
      if (result === undefined || result === null) continue;
      drop(made);
      if (!(result instanceof Response)) return result;
      made = result;
      current = headOf(result);
    }
    return made === null ? undefined : withoutContent(made, current);
  };
  const resume = async (
    next: number,
    made: Response | null,
    current: ProxyResponse,
    ctx: Context,
    pending: Promise<Response | void>,
  ): Promise<Response | void> => {
    let result: Response | void;
    try {
      result = await pending;
    } catch (error) {
      drop(made);
      throw error;
    }
    if (result === undefined || result === null) return await run(next, made, current, ctx);
    drop(made);
    return result instanceof Response ? await run(next, result, headOf(result), ctx) : result;
  };
  return (response, ctx) => run(0, null, response, ctx);
}

/** Cancels the content of a response that is not sent, which may hold a file or a connection. */
function drop(made: Response | null): void {
  if (made !== null && made.body !== null) dropContent(made.body);
}

function dropContent(content: ReadableStream): void {
  // One that is being read is cancelled by its reader.
  content.cancel().catch(() => {});
}

/** Composes body filters: each reads the content of the previous one. */
function composeBodyFilters<Rest extends readonly unknown[]>(
  filters: readonly ((body: Bytes, ...rest: Rest) => FilteredContent | Promise<FilteredContent>)[],
): (body: Bytes, ...rest: Rest) => FilteredContent | Promise<FilteredContent> {
  const run = (from: number, made: FilteredContent, body: Bytes, rest: Rest) => {
    let latest = made;
    for (let i = from; i < filters.length; i++) {
      const current = latest === undefined ? body : latest instanceof ReadableStream ? latest : latest.body;
      let result: FilteredContent | Promise<FilteredContent>;
      try {
        result = filters[i]!(current, ...rest);
      } catch (error) {
        if (current !== body) dropContent(current);
        throw error;
      }
      if (result instanceof Promise) {
        const before = latest;
        return result.then(
          (late): FilteredContent | Promise<FilteredContent> =>
            run(i + 1, contentAfter(before, late), body, rest),
          (error) => {
            if (current !== body) dropContent(current);
            throw error;
          },
        );
      }
      latest = contentAfter(latest, result);
    }
    return latest;
  };
  return (body, ...rest) => run(0, undefined, body, rest);
}

/** The content after a filter, with the length that the filters before it have declared, if it keeps the length. */
function contentAfter(before: FilteredContent, made: FilteredContent): FilteredContent {
  if (made === undefined || made === null) return before;
  if (before === undefined || !(KEEPS_LENGTH in made)) return made;
  const body = made as Bytes & { [KEEPS_LENGTH]?: true };
  if (!(before instanceof ReadableStream)) return { body, length: before.length };
  if (!(KEEPS_LENGTH in before)) delete body[KEEPS_LENGTH];
  return body;
}

/** Calls all functions, even if some fail. */
function composeLogging(
  loggings: readonly NonNullable<Filters["logging"]>[],
): NonNullable<Filters["logging"]> {
  return (ctx: RequestContext, error) => {
    const errors: unknown[] = [];
    const pending: Promise<void>[] = [];
    for (const logging of loggings) {
      try {
        const logged = logging(ctx, error);
        if (logged instanceof Promise) pending.push(logged.catch((thrown) => void errors.push(thrown)));
      } catch (thrown) {
        errors.push(thrown);
      }
    }
    if (pending.length === 0) return throwAll(errors);
    return Promise.all(pending).then(() => throwAll(errors));
  };
}

function throwAll(errors: readonly unknown[]): void {
  if (errors.length === 0) return;
  if (errors.length === 1) throw errors[0];
  const messages = errors.map(messageOf);
  throw new AggregateError(errors, messages.join("; "));
}
