/** Several requests to a proxy, one after the other. */

import type { TestProxy } from "./start_proxy.ts";

/** Names of the servers that answered so many requests, or `[status]` where none did. */
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

/** The same with the order taken away. */
export function sorted(text: string): string {
  return [...text].sort().join("");
}
