import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { resolveListen } from "../../../lib/config/listen_options.ts";
import { eventMessage } from "../../../lib/observe/event_message.ts";
import { CertificateExpiry } from "../../../lib/server/certificates.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { Recorder } from "../../support/recorder.ts";
import { testCa } from "../../support/test_ca.ts";

const DAY_MS = 86_400_000;

Deno.test("CertificateExpiry warns 30 days, 7 days and a day before the end, and each day behind it", async () => {
  const pair = await (await testCa()).issue({ names: ["a.example"] });
  const end = new X509Certificate(pair.cert).validToDate.getTime();
  const clock = new FakeClock(1000, end - 33.5 * DAY_MS);
  const observer = new Recorder();
  using expiry = new CertificateExpiry({ clock, observer });
  expiry.check(resolveListen({ hostname: "127.0.0.1", port: 443, engine: "http1", tls: pair }));
  for (let day = 0; day < 36; day++) await clock.advance(DAY_MS);
  const told = observer.eventsOf("certificate_expiry").map(({ daysLeft, ended }) => [daysLeft, ended]);
  assertEquals(told, [[29, false], [6, false], [0, false], [0, true], [0, true], [0, true]]);
  const at = new Date(end).toISOString();
  assertEquals(observer.events.slice(1, 4).map(eventMessage), [
    `Certificate of a.example on 127.0.0.1:443 expires in 6 days: ${at}`,
    `Certificate of a.example on 127.0.0.1:443 expires today: ${at}`,
    `Certificate of a.example on 127.0.0.1:443 has expired: ${at}`,
  ]);
});

Deno.test("CertificateExpiry looks at files again, and keeps what cannot be read", async () => {
  await using files = await certificateFiles(["a.example"]);
  const own = { cert: files.cert, key: files.key };
  const other = await (await testCa()).issue({ names: ["b.example"] });
  const end = new X509Certificate(other.cert).validToDate.getTime();
  const clock = new FakeClock(1000, end - 20 * DAY_MS);
  const observer = new Recorder();
  using expiry = new CertificateExpiry({ clock, observer });
  const listen = resolveListen([
    { port: 443, engine: "http1", tls: { ...own, certificates: [{ names: ["*.b.example"], ...other }] } },
    { port: 80, redirect: "https" },
  ]);
  expiry.check(listen);
  assertEquals(expiry.ends.map(({ listener, certificate, names }) => [listener, certificate, names]), [
    ["0.0.0.0:443", "cert", ["a.example"]],
    ["0.0.0.0:443", "certificates[0]", ["*.b.example"]],
  ]);
  assertEquals(observer.eventsOf("certificate_expiry").length, 2);
  const before = expiry.ends;
  await Deno.remove(files.cert);
  await clock.advance(10_000);
  assertEquals(expiry.ends, before);
  files.put(await (await testCa()).issue({ names: ["c.example"] }));
  await clock.advance(10_000);
  assertEquals(expiry.ends[0]!.names, ["c.example"]);
  expiry.check([]);
  assertEquals(expiry.ends, []);
});
