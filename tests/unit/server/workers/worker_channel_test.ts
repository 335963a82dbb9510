/** A worker that speaks to a supervisor which does not listen. */

import { assertEquals } from "@std/assert";
import { readLines, readMessage } from "../../../../lib/server/workers/channel.ts";

const CHANNEL = new URL("../../../../lib/server/workers/worker_channel.ts", import.meta.url);

/** Says so much at once; once all that was kept has gone, it says one thing more. */
const WORKER = `
  import { WorkerChannel } from ${JSON.stringify(CHANNEL)};
  const channel = new WorkerChannel(new ReadableStream(), Deno.stderr);
  for (let id = 0; id < 12_000; id++) channel.send({ kind: "prepared", id });
  console.log("said");
  await channel.flush();
  channel.send({ kind: "prepared", id: -1 });
  await channel.flush();
  Deno.exit();`;

Deno.test("WorkerChannel keeps 10,000 messages for a supervisor that is busy, and loses those behind", async () => {
  await using worker = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", WORKER],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = readLines(worker.stdout);
  assertEquals((await output.next()).value, "said");
  const ids: number[] = [];
  for await (const line of readLines(worker.stderr)) {
    const { message } = readMessage<{ readonly kind: "prepared"; readonly id: number }>(line);
    if (message !== null) ids.push(message.id);
  }
  assertEquals(await output.next(), { done: true, value: undefined });
  assertEquals(ids, [...Array.from({ length: 10_000 }, (_, id) => id), -1]);
});
