/** Makes one filter set of several, once, so that a request finds one function for each phase or none. */

import { messageOf, refusePromise } from "../core/callback.ts";
import {
  FILTER_PHASES,
  type FilteredContent,
  type Filters,
  REQUEST_ID,
  type RequestNaming,
} from "./filters.ts";
import { mergeStates } from "./merge_states.ts";
import { composeResponseFilters } from "./compose_response_filters.ts";
import type { RequestContext } from "./request_context.ts";
import { type Step, stepsInTurn } from "./steps_in_turn.ts";

type Phase = keyof Filters;
type Bindable = (this: unknown, ...args: never[]) => unknown;
type Bytes = ReadableStream<Uint8Array<ArrayBuffer>>;
/** The functions of one phase, in the order in which they run. */
type Collect = <Name extends Phase>(phase: Name) => readonly NonNullable<Filters[Name]>[];

/** Phases of the way back, which run in reverse. */
const BACKWARDS: ReadonlySet<Phase> = new Set<Phase>([
  "upstreamResponseFilter",
  "responseFilter",
  "responseBodyFilter",
  "failToProxy",
  "ownResponseFilter",
  "logging",
]);

/** Composes filter sets; phases that none of them has are not there. */
export function composeFilters(sets: readonly (Filters & RequestNaming)[]): Filters & RequestNaming {
  const collect: Collect = (phase) => {
    const found = sets.filter((set) => set[phase] !== undefined)
      // A set among several may be an object with methods.
      .map((set) => sets.length === 1 ? set[phase]! : (set[phase] as Bindable).bind(set))
      .map((filter) => filter as NonNullable<Filters[typeof phase]>);
    return BACKWARDS.has(phase) ? found.reverse() : found;
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
      return stepsInTurn(collect(phase) as readonly Step<unknown, unknown>[], true);
    case "upstreamRequestFilter":
    case "failToConnect":
      return stepsInTurn(collect(phase) as readonly Step<unknown, unknown>[], false);
    case "ownResponseFilter":
      return composeOwnResponseFilters(collect("ownResponseFilter"));
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

/** None of them may be async: the answer does not wait. */
function composeOwnResponseFilters(
  filters: readonly NonNullable<Filters["ownResponseFilter"]>[],
): NonNullable<Filters["ownResponseFilter"]> {
  return (response, ctx) => {
    for (const filter of filters) refusePromise(filter(response, ctx));
  };
}

/** Each filters what the one before it has made. */
function composeBodyFilters<Rest extends readonly unknown[]>(
  filters: readonly ((body: Bytes, ...rest: Rest) => FilteredContent | Promise<FilteredContent>)[],
): (body: Bytes, ...rest: Rest) => FilteredContent | Promise<FilteredContent> {
  const run = (from: number, made: FilteredContent, body: Bytes, rest: Rest) => {
    let latest = made;
    for (let i = from; i < filters.length; i++) {
      const current = latest === undefined ? body : latest instanceof ReadableStream ? latest : latest.body;
      const result = filters[i]!(current, ...rest);
      if (result instanceof Promise) {
        const before = latest;
        return result.then((late): FilteredContent | Promise<FilteredContent> =>
          run(i + 1, late ?? before, body, rest)
        );
      }
      latest = result ?? latest;
    }
    return latest;
  };
  return (body, ...rest) => run(0, undefined, body, rest);
}

/** All are told, whatever becomes of the others. */
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
