import { assertEquals } from "@std/assert";
import { Guard, readTokens } from "../../../lib/admin/guard.ts";
import type { ResolvedAdmin } from "../../../lib/config/admin_options.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { Recorder } from "../../support/recorder.ts";

function scene() {
  const clock = new FakeClock();
  const observer = new Recorder();
  const admin = {
    listen: { hostname: "127.0.0.1" },
    hosts: [],
    tls: null,
    read: "anyone",
    tokens: new Map([["ops", "a-token-that-is-long-enough"]]),
  } as unknown as ResolvedAdmin;
  const guard = new Guard({ admin, tokens: readTokens(admin), clock, observer });
  /** The status of a refusal; 200 for who is let in. */
  const ask = async (fields: Record<string, string>) => {
    const request = new Request("http://127.0.0.1:1/", { headers: { host: "127.0.0.1:1", ...fields } });
    const admitted = await guard.admit(request, "read", "192.0.2.1");
    return admitted instanceof Response ? admitted.status : 200;
  };
  return { clock, observer, ask };
}

Deno.test("Guard takes no other scheme of its own name for its own origin", async () => {
  const { ask } = scene();
  const origins = ["http://127.0.0.1:1", "https://127.0.0.1:1", "ftp://127.0.0.1:1", "http://127.0.0.1:2"];
  const statuses = [];
  for (const origin of origins) statuses.push(await ask({ origin }));
  assertEquals(statuses, [200, 200, 403, 403]);
});

Deno.test("Guard tells of refusals once a second, and how many there were since", async () => {
  const { clock, observer, ask } = scene();
  const wrong = { authorization: "Bearer wrong" };
  for (let i = 0; i < 4; i++) assertEquals(await ask(wrong), 401);
  clock.tick(1000);
  assertEquals(await ask(wrong), 401);
  clock.tick(1000);
  assertEquals(await ask(wrong), 401);
  assertEquals(observer.eventsOf("admin_refusal").map(({ count }) => count), [1, 4, 1]);
});
