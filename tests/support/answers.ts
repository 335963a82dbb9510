/** Several sequential requests to a proxy. */

import type { TestProxy } from "./start_proxy.ts";

/** Names of the servers that responded to the requests, or `[status]` without a server. */
export async function answers(
  proxy: TestProxy,
  count: number,
  request = "GET /",
  lines: readonly string[] = [],
): Promise<string> {
  let text = "";
  for (let i = 0; i < count; i++) {
    const answer = await proxy.ask(request, lines);
    text += answer.status === 200 ? answer.text : `[${answer.status}]`;
  }
  return text;
}

/** The same names, sorted. */
export function sorted(text: string): string {
  return [...text].sort().join("");
}
