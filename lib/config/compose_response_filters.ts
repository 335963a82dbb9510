/** Several filters of an answer's head, one after the other. */

import { hasNoContent, withHead } from "../http/make_response.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { Filters, ProxyResponse } from "./filters.ts";

type ResponseFilter = NonNullable<Filters["responseFilter"]>;

/** A response as the filters after the one that made it see it. */
export function headOf(response: Response): ProxyResponse {
  const { status, statusText, headers } = response;
  return { status, statusText, headers: new HeaderFields(headers) };
}

/** The response with what other filters have made of its head; content that its status must not have goes. */
export function withoutContent(response: Response, head: ProxyResponse): Response {
  if (!hasNoContent(head.status)) return withHead(response, head);
  response.body?.cancel().catch(() => {});
  return withHead(new Response(null, { status: head.status }), head);
}

/** Makes one filter of several; those after one that replaces the answer edit what it has made. */
export function composeResponseFilters(filters: readonly ResponseFilter[]): ResponseFilter {
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
      const result = filters[i]!(current, ctx);
      if (result instanceof Promise) return resume(i + 1, made, current, ctx, result);
      if (!(result instanceof Response)) {
        if (result !== undefined && result !== null) return result;
        continue;
      }
      made?.body?.cancel().catch(() => {});
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
    const result = await pending;
    if (result instanceof Response) {
      made?.body?.cancel().catch(() => {});
      return await run(next, result, headOf(result), ctx);
    }
    return result === undefined || result === null ? await run(next, made, current, ctx) : result;
  };
  return (response, ctx) => run(0, null, response, ctx);
}
