/** When workers are replaced. */

import { assertEquals } from "@std/assert";
import type { ProxyEvent } from "../../../../lib/observe/events.ts";
import type { WorkerChild } from "../../../../lib/server/serve_options.ts";
import { type StartMessage, writeMessage } from "../../../../lib/server/workers/channel.ts";
import { isStarved, WorkerGroup } from "../../../../lib/server/workers/worker_group.ts";
import { WorkerProcess } from "../../../../lib/server/workers/worker_process.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

Deno.test("isStarved: a worker that had no chance to run is not taken for hung", () => {
  const since = { ranMs: 1000, waitedMs: 5000 };
  const cases: readonly [what: string, ranMs: number, waitedMs: number, starved: boolean][] = [
    ["it waited nearly all the time", 60, 1100, true],
    ["it waited more than it ran", 240, 900, true],
    ["it ran long enough to say something", 250, 900, false],
    ["it loops", 1200, 0, false],
    ["it loops beside others", 600, 600, false],
    ["it is blocked or stopped: it neither runs nor waits", 0, 0, false],
  ];
  for (const [what, ran, waited, starved] of cases) {
    const now = { ranMs: since.ranMs + ran, waitedMs: since.waitedMs + waited };
    assertEquals(isStarved(since, now), starved, what);
  }
  assertEquals([isStarved(null, since), isStarved(since, null)], [false, false]);
});

const TOKEN = "t";

/** A process that listens at once, and runs until it is killed. */
function listeningChild(): WorkerChild {
  const { promise: status, resolve } = Promise.withResolvers<Deno.CommandStatus>();
  let stderr!: ReadableStreamDefaultController<Uint8Array>;
  let stdout!: ReadableStreamDefaultController<Uint8Array>;
  const child = {
    pid: 1,
    status,
    stdin: new WritableStream<Uint8Array<ArrayBuffer>>(),
    stdout: new ReadableStream<Uint8Array>({ start: (controller) => void (stdout = controller) }),
    stderr: new ReadableStream<Uint8Array>({ start: (controller) => void (stderr = controller) }),
    kill: () => {
      stdout.close();
      stderr.close();
      resolve({ code: 137, success: false, signal: "SIGKILL" });
    },
  };
  stderr.enqueue(writeMessage({ kind: "listening", ports: [1] }, TOKEN));
  return child;
}

Deno.test("WorkerGroup tries again when a process cannot be started, and does not count it as listening until then", async () => {
  const clock = new FakeClock();
  const events: ProxyEvent<"worker_ended">[] = [];
  const { promise: started, resolve } = Promise.withResolvers<void>();
  const reports = {
    series() {},
    event() {},
    access() {},
    keys() {},
    accessLines() {},
    changed() {},
    stray() {},
  };
  const workers: WorkerProcess[] = [];
  let broken = false;
  const group = new WorkerGroup({
    count: 1,
    clock,
    observer: {
      wantsAccess: false,
      access() {},
      event(event) {
        if (event.kind === "worker_ended") events.push(event);
        if (event.kind === "worker_started") resolve();
      },
    },
    start: () => {
      if (broken) throw new Error("too many processes");
      const worker = new WorkerProcess(
        listeningChild(),
        { kind: "start", token: TOKEN } as StartMessage,
        reports,
      );
      workers.push(worker);
      return worker;
    },
    release() {},
    beatsOf: () => 0,
    runningOf: () => 0,
  }, [1]);
  await group.open();
  broken = true;
  workers[0]!.kill("a test");
  await workers[0]!.ended;
  await clock.advance(0);
  assertEquals(events.map(({ reason, restartInMs }) => [reason, restartInMs]), [
    ["a test", 0],
    ["it could not be started: too many processes", 250],
  ]);
  assertEquals(group.listening, 0);
  broken = false;
  await clock.advance(250);
  await started;
  assertEquals(group.listening, 1);
  await group.cut();
});
