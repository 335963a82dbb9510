/** The request as functions of the configuration see it: with the fields that the server gets. */

import { receivedValue } from "../http/received_fields.ts";

/**
 * Makes the request of the runtime say the same of its fields as goes to the server, its clones too.
 *
 * `get()` is all that the runtime gets wrong by itself, and asking about each field would cost more than a microsecond; so
 * only that is replaced, unless there is more to say.
 *
 * @param list name, value, name, value, ... where the fields are others than those that the runtime goes through
 */
export function showRequest(request: Request, list: readonly string[] | null): Request {
  if (list === null) request.headers.get = getField;
  else replaceHeaders(request, list);
  request.clone = cloneShown;
  return request;
}

function getField(this: Headers, name: string): string | null {
  return receivedValue(this, String(name).toLowerCase());
}

function replaceHeaders(request: Request, list: readonly string[]): void {
  const headers = new Headers();
  for (let i = 0; i < list.length; i += 2) headers.append(list[i]!, list[i + 1]!);
  Object.defineProperty(request, "headers", { value: headers });
}

/** Has the request of the runtime, which decodes bytes above 0x7F of its URL, show another URL. */
export function showUrl(request: Request, url: string): void {
  Object.defineProperty(request, "url", { value: url, configurable: true });
}

function cloneShown(this: Request): Request {
  const clone = Request.prototype.clone.call(this);
  if (Object.hasOwn(this, "url")) showUrl(clone, this.url);
  if (!Object.hasOwn(this, "headers")) return showRequest(clone, null);
  return showRequest(clone, [...this.headers].flat());
}
