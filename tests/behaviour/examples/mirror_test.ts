import { assert, assertEquals } from "@std/assert";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/mirror sends some reading requests to the next version as well, whose answers nobody gets", async () => {
  await using next = recordingUpstream();
  await using example = await startExample("mirror", {
    set: { "upstreams.next": { servers: [next.address] } },
  });
  const ask = async (request: string, lines: string[] = [], body = "") =>
    (await example.ask(request, lines, body)).field("x-upstream");
  for (let n = 0; n < 20; n++) assertEquals(await ask("POST /order", ["Content-Length: 1"], "x"), "today");
  // Of three hundred none copied: one time in 10^13.
  for (let n = 0; n < 300 && next.requests.length < 3; n++) assertEquals(await ask(`GET /${n}`), "today");
  await next.untilRequests(3);
  assert(next.requests.every(({ startLine }) => startLine.startsWith("GET /")));
});
