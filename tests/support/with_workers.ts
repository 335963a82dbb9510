/**
 * Runs behaviour tests with several workers, and reports how many could run, and why others could not:
 * `deno run -A tests/support/with_workers.ts [PATH...]`. Loaded before the tests, it records the result of each.
 */

// deno-lint-ignore-file no-console
import { readArguments, runAll } from "../../tools/run_tests.ts";
import { NeedsOneProcess, PLACE, STARTED } from "./test_workers.ts";

const REPORT = "LBPROXY_TEST_WORKERS_REPORT";
const WORKERS = Deno.env.get("LBPROXY_TEST_WORKERS") ?? "4";

interface Note {
  readonly test: string;
  /** Why all workers ran in the test process; left out if they did not. */
  readonly inProcess?: string | undefined;
  /** Why it did not run with workers; `null` if it did. */
  readonly skipped: string | null;
}

function note(note: Note): void {
  Deno.writeTextFileSync(Deno.env.get(REPORT)!, JSON.stringify(note) + "\n", { append: true });
}

type Body = (context: Deno.TestContext) => void | Promise<void>;

const OWN_CONNECTIONS = "each worker has connections of its own, to clients and to servers";
const OWN_LIMITS = "maxConnections and maxConnectionsPerClient count the connections of one worker";
const SESSIONS =
  "a TLS session is resumed by the worker only that began it: the runtime shares no ticket keys";
/** Timeout of a test, in milliseconds. */
const LIMIT_MS = 90_000;

/** Tests of behaviour that differs with workers, by the beginning of their names, with the reason. */
const DIFFERENT: Readonly<Record<string, string>> = {
  "proxy believes a check no more once a request has failed":
    "the supervisor, which checks servers, learns of a request that failed a moment later",
  "overload.queue lets requests wait in their order":
    "requests that wait in different workers are served in no order, though the queue is one",
  "proxy lets requests wait for room at a full":
    "requests that wait in different workers are served in no order, though the queue is one",
  "proxy chooses by least-connections":
    "servers with as many requests each take turns in every worker for itself",
  "HTTP/2: connections above those of a client": OWN_CONNECTIONS,
  "HTTP/2: a connection more than a client may have": OWN_LIMITS,
  "TLS: 600 made-up names look no more than 64 certificates": "each worker looks certificates up for itself",
  "a server of HTTP/2 that refuses a WebSocket": OWN_CONNECTIONS,
  "Client limits: a proxy that is full stops": OWN_LIMITS,
  "Client limits: connections of one client": OWN_LIMITS,
  "Client limits: for one connection too many": OWN_LIMITS,
  "Client limits: one client has no more": OWN_LIMITS,
  "Client limits: while a client waits to be accepted": OWN_LIMITS,
  "Client limits: where no connection is idle": OWN_LIMITS,
  "Secured listener gives up the oldest handshakes": OWN_CONNECTIONS,
  "clientCertificates let in whom": SESSIONS,
  "clientCertificates: a session of a listener": SESSIONS,
  "clientCertificates: authorities in a file": SESSIONS,
  "Listener lets an upload finish before it takes a new certificate":
    "with the engine deno, an upload holds up the new certificate of its own worker only",
  "proxy opens no more than 64 connections": OWN_CONNECTIONS,
  "metrics(): connections of clients": OWN_LIMITS,
  "accessLog: a redirect": OWN_LIMITS,
  "ProxyServer.shutdown() ends no connection before the listener is closed":
    "another worker may close its listener a moment later, and serves who connects by then",
};

/** Tests, by the beginning of their names, that need workers in the test process, with the reason. */
const IN_PROCESS: Readonly<Record<string, string>> = {
  "overload.maxLoopDelay refuses": "the test keeps the event loop busy",
  "proxy goes on with servers that are added and removed":
    "processes get the list of servers a moment after the call",
};

/** Makes a test end without failure if it needs something that is impossible with workers. */
function skippable(test: string, fn: Body): Body {
  const different = Object.entries(DIFFERENT).find(([begin]) => test.startsWith(begin));
  if (different !== undefined) return () => note({ test, skipped: different[1] });
  return async (context) => {
    const { processes } = STARTED;
    STARTED.inProcess.length = 0;
    PLACE.inProcess = Object.entries(IN_PROCESS).find(([begin]) => test.startsWith(begin))?.[1] ?? null;
    try {
      await withinLimit(test, fn(context));
    } catch (error) {
      if (!needsOneProcess(error)) throw error;
      PLACE.inProcess = (error as Error).message;
      STARTED.processes = processes;
      await withinLimit(test, fn(context));
    }
    const byProcesses = STARTED.processes > processes;
    const [inProcess] = STARTED.inProcess;
    note({
      test,
      inProcess: byProcesses ? undefined : inProcess,
      skipped: byProcesses || inProcess !== undefined ? null : "starts no proxy of its configuration alone",
    });
  };
}

function needsOneProcess(error: unknown): boolean {
  return error instanceof NeedsOneProcess ||
    error instanceof SuppressedError && (needsOneProcess(error.error) || needsOneProcess(error.suppressed));
}

/** Fails a test that hangs, so that it does not block the following ones. */
async function withinLimit(test: string, running: void | Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<void>();
  const limit = setTimeout(() => reject(new Error(`${test}: not over after ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  try {
    await Promise.race([running, promise]);
  } finally {
    clearTimeout(limit);
  }
}

function wrapTests(): void {
  const original = Deno.test;
  const wrapped = (...args: unknown[]): void => {
    const at = args.findIndex((arg) => typeof arg === "function");
    const options = args.find((arg) => typeof arg === "object") as Partial<Deno.TestDefinition> | undefined;
    const name = args.find((arg) => typeof arg === "string") as string | undefined ?? options?.name ??
      (args[at] as Body).name;
    const all = [...args];
    if (at >= 0) all[at] = skippable(name, args[at] as Body);
    else all[0] = { ...options, fn: skippable(name, options!.fn!) };
    if (typeof all[at] === "function" && all.length === 1) all.unshift(name);
    (original as (...args: unknown[]) => void)(...all);
  };
  Object.defineProperty(Deno, "test", {
    value: Object.assign(wrapped, { ignore: original.ignore, only: original.only }),
  });
}

/** Runs the tests, and sums up their records. */
async function runTests(): Promise<number> {
  const path = await Deno.makeTempFile();
  Deno.env.set("LBPROXY_TEST_WORKERS", WORKERS);
  Deno.env.set(REPORT, path);
  const { paths, jobs, timeoutMs } = readArguments(Deno.args, () => true);
  const ok = await runAll({
    paths,
    jobs,
    timeoutMs,
    flags: ["--unstable-net", "--preload", import.meta.url],
  });
  const notes: Note[] = (await Deno.readTextFile(path)).split("\n").slice(0, -1).map((line) =>
    JSON.parse(line)
  );
  await Deno.remove(path);
  const run = notes.filter(({ skipped }) => skipped === null);
  const inProcess = run.filter((note) => note.inProcess !== undefined);
  console.log(
    `with ${WORKERS} workers: ${run.length} tests, ${inProcess.length} of them with workers in the test process`,
  );
  listReasons("in the test process", inProcess, (note) => note.inProcess!);
  listReasons("skipped", notes.filter(({ skipped }) => skipped !== null), ({ skipped }) => skipped!);
  return ok ? 0 : 1;
}

/** Prints how many tests have which reason; the tests too if `VERBOSE` is set. */
function listReasons(what: string, notes: readonly Note[], reasonOf: (note: Note) => string): void {
  const reasons = [...Map.groupBy(notes, reasonOf)].toSorted(([, a], [, b]) => b.length - a.length);
  for (const [reason, tests] of reasons) {
    console.log(`${what}: ${tests.length} because ${reason}`);
    if (Deno.env.has("VERBOSE")) { for (const { test } of tests) console.log(`    ${test}`); }
  }
}

if (import.meta.main) Deno.exit(await runTests());
else wrapTests();
