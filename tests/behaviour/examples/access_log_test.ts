import { assertEquals, assertMatch } from "@std/assert";
import { startExample } from "../../support/start_example.ts";

Deno.test("examples/access_log writes an object for each request, whatever has become of it", async () => {
  await using example = await startExample("access_log", { set: { "limiter.window": "1m" } });
  await example.ask("GET /a", ["appid: x", "User-Agent: test"]);
  await example.ask("GET /b", ["appid: x"]);
  await example.ask("GET /c", ["Content-Length: x"]);
  await example.ask("GET /d");
  const { stdout } = await example.stop();

  // The proxy's own lines are there as well.
  const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
  const entries = lines.map((line) => JSON.parse(line));
  assertEquals(entries.map(({ request, status, error }) => [request, status, error]), [
    ["GET /a", 200, null],
    ["GET /b", 429, null],
    ["GET /c", 400, "http_request_error"],
    ["GET /d", 200, null],
  ]);
  const [first, second] = entries;
  assertEquals([first.client, first.agent, first.remaining], ["127.0.0.1", "test", 0]);
  assertMatch(first.attempts.at(-1), /^127\.0\.0\.1:\d+ answered$/);
  assertEquals([second.attempts, second.upstreamMs], [[], null]);
});
