/** Cost of a line of the access log, from the entry to the write of many lines. */

import type { AccessEntry } from "../lib/observe/observer.ts";
import { systemClock as clock } from "../lib/core/clock.ts";
import { createLog } from "../lib/observe/create_log.ts";
import type { ByteSink } from "../lib/observe/line_writer.ts";
import { accessEntry } from "../tests/support/access_entry.ts";

const NOWHERE: ByteSink = {
  write: (bytes) => Promise.resolve(bytes.length),
  writeSync: (bytes) => bytes.length,
};
const ENTRY: AccessEntry = accessEntry({
  requestId: "123456",
  clientIp: "192.0.2.1",
  method: "GET",
  target: "/products/list?category=shoes&page=3&sort=price",
  status: 200,
  route: null,
  server: "10.0.0.17:8080",
  pool: "default",
  durationMs: 12.3456,
  bytesSent: 5120,
  attempts: 1,
  limitedBy: null,
  wouldLimit: [],
  error: null,
});
const HOSTILE: AccessEntry = { ...ENTRY, target: '/"\n\\"'.repeat(10) };

const LINES = 1000;

for (const format of ["text", "json"] as const) {
  const log = createLog({ format, clock, stdout: NOWHERE, stderr: NOWHERE });
  for (const [name, entry] of [["", ENTRY], [", target full of escapes", HOSTILE]] as const) {
    Deno.bench(`${LINES} lines of ${format}${name}`, { group: "access log" }, async () => {
      for (let i = 0; i < LINES; i++) log.observer.access(entry);
      await log.flush();
    });
  }
}

Deno.bench(`JSON.stringify of ${LINES} entries`, { group: "access log", baseline: true }, () => {
  for (let i = 0; i < LINES; i++) {
    JSON.stringify({ time: new Date().toISOString(), level: "info", kind: "access", ...ENTRY });
  }
});

const { observer: quiet } = createLog({ level: "warn", clock, stdout: NOWHERE, stderr: NOWHERE });
const event = { kind: "listening", addresses: ["0.0.0.0:80"], pid: 1 } as const;
Deno.bench("event below the level", { group: "off" }, () => quiet.event(event));
