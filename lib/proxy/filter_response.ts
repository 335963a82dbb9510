/** Filters of a response: they edit or replace it before it is sent to the client. */

import { FilterError } from "../core/errors.ts";
import type { FilteredContent, Filters, ProxyResponse } from "../filter/filters.ts";
import { type Body, sendsContent, streamOf } from "../http/message.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { ServerResponse } from "../transport/transport.ts";
import { announceLimits } from "./admit_request.ts";
import type { Exchange } from "./exchange.ts";
import { checkContent, type CheckedContent, FilteredContentBody } from "./filtered_content.ts";
import { checkPhrase, checkStatus, filterReply, type LocalReply, sendReply } from "./local_reply.ts";
import { runFilter } from "./run_filter.ts";
import { announceSession, sendResponse } from "./attempt_upstreams.ts";
import { checkTunnel, relayTunnel } from "./upgrade.ts";

/**
 * Runs `upstreamResponseFilter`, adds the proxy's fields, runs `responseFilter` and `responseBodyFilter`, and sends
 * the result; returns a promise only when one is needed.
 *
 * @throws {FilterError} when one of them throws, rejects, or returns an invalid value
 */
export function filterResponse(exchange: Exchange, response: ServerResponse): void | Promise<void> {
  if (response.tunnel !== undefined) return filterTunnel(exchange, response);
  if (exchange.filtersResponse) return filterHead(exchange, response);
  if (exchange.decision !== null) announceLimits(exchange, response.headers);
  if (exchange.pool.balancer.sticky !== null) announceSession(exchange, response.headers);
  sendResponse(exchange, response, response, response.body);
}

async function filterTunnel(exchange: Exchange, response: ServerResponse): Promise<void> {
  await checkTunnel(exchange, response);
  if (exchange.filtersResponse) return await filterHead(exchange, response);
  const head = ownHead(response);
  announceLimits(exchange, head.headers);
  announceSession(exchange, head.headers);
  relayTunnel(exchange, head, response.tunnel!);
}

type HeadFilter = NonNullable<Filters["responseFilter"]>;

async function filterHead(exchange: Exchange, response: ServerResponse): Promise<void> {
  const { upstreamResponseFilter, responseFilter, responseBodyFilter } = exchange.filters;
  let head: ProxyResponse = ownHead(response);
  exchange.status = head.status;
  let replaced: LocalReply | null = null;
  if (upstreamResponseFilter !== undefined) {
    replaced = await runHeadFilter(exchange, "upstreamResponseFilter", upstreamResponseFilter, head);
    if (replaced !== null) head = { status: replaced.status, statusText: "", headers: replaced.headers };
  }
  announceLimits(exchange, head.headers);
  announceSession(exchange, head.headers);
  if (responseFilter !== undefined) {
    exchange.status = head.status;
    let reply: LocalReply | null;
    try {
      reply = await runHeadFilter(exchange, "responseFilter", responseFilter, head);
    } catch (error) {
      replaced?.body?.cancel();
      throw error;
    }
    if (reply !== null) {
      replaced?.body?.cancel();
      return sendReply(exchange, { ...reply, statusText: "" }, reply.body);
    }
  }
  exchange.throwIfCancelled();
  if (replaced !== null) {
    return sendReply(exchange, head, replaced.body);
  }
  if (response.tunnel !== undefined) return relayTunnel(exchange, head, response.tunnel);
  let { body }: { body: Body | null } = response;
  if (responseBodyFilter !== undefined) body = await filterContent(exchange, head, body, responseBodyFilter);
  sendResponse(exchange, response, head, body);
  if (body !== null && !sendsContent(exchange.method, head.status)) body.cancel();
}

/** A head that functions of the configuration may keep: it stays unchanged when the connection is reused. */
function ownHead({ status, statusText, headers }: ServerResponse): ProxyResponse {
  const own = headers.clone();
  own.detach();
  return { status, statusText, headers: own };
}

async function runHeadFilter(
  exchange: Exchange,
  phase: string,
  filter: HeadFilter,
  head: ProxyResponse,
): Promise<LocalReply | null> {
  const { status, statusText } = head;
  const running = runFilter(phase, filter, head, exchange);
  const made = running instanceof Promise ? await running : running;
  // The head of a server is checked when it is forwarded.
  try {
    if (head.status !== status) checkNewStatus(status, head.status);
    if (head.statusText !== statusText) checkPhrase(head.statusText);
  } catch (error) {
    throw new FilterError(phase, error);
  }
  if (made === undefined || made === null) return null;
  return filterReply(exchange, made, phase);
}

/** The bytes after a switch of protocols are no content of a response with another status. */
function checkNewStatus(before: number, status: number): void {
  if (before === 101) throw new RangeError("it must keep the status 101 of a switched connection");
  checkStatus(status);
}

/** Runs `responseBodyFilter` on existing content; returns its result. */
async function filterContent(
  exchange: Exchange,
  head: ProxyResponse,
  body: Body | null,
  responseBodyFilter: NonNullable<Filters["responseBodyFilter"]>,
): Promise<Body | null> {
  // The length in a response to HEAD would be that of the unfiltered content.
  if (exchange.method === "HEAD") {
    forgetContent(head.headers, null);
    return body;
  }
  if (body === null || body.length === 0) return body;
  exchange.status = head.status;
  const content = new FilteredContentBody(body, exchange.cancellation);
  const original = streamOf(content.source);
  const filter = (stream: typeof original): ReturnType<typeof responseBodyFilter> =>
    responseBodyFilter(stream, exchange, head);
  const running = runFilter("responseBodyFilter", filter, original, exchange);
  const made: FilteredContent = running instanceof Promise ? await running : running;
  exchange.throwIfCancelled();
  let checked: CheckedContent | null;
  try {
    checked = checkContent(made, original, body.length);
  } catch (error) {
    throw new FilterError("responseBodyFilter", error);
  }
  if (checked === null) return body;
  forgetContent(head.headers, checked.length);
  return content.take(checked);
}

/** Removes the fields that describe the replaced content. */
function forgetContent(headers: HeaderFields, length: number | null): void {
  for (const name of ["content-length", "content-md5", "content-digest", "repr-digest", "digest"]) {
    headers.delete(name);
  }
  // Ranges would refer to other content, and a strong entity tag would be wrong (RFC 9110 section 8.8.3).
  headers.delete("accept-ranges");
  const tag = headers.get("etag");
  if (tag !== null && tag.startsWith('"')) headers.set("etag", `W/${tag}`);
  if (length !== null) headers.set("content-length", String(length));
}
