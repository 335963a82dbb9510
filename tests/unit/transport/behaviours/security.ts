/** TLS, and who is on the other end of it; sockets of the file system. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { UpstreamError } from "../../../../lib/core/errors.ts";
import { CutRelay } from "../../../support/cut_relay.ts";
import { bytesBody } from "../../../support/request_body.ts";
import { answering, rawUpstream } from "../../../support/raw_upstream.ts";
import { startClientCertUpstream } from "../../../support/client_cert_upstream.ts";
import { TestCa, testCa } from "../../../support/test_ca.ts";
import { tlsUpstream } from "../../../support/tls_upstream.ts";
import { type Behaviour, bodyStream, bodyText, nowhere, peerOf } from "../behaviour.ts";

const NAME = "one.one.one.one";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

export const SECURITY: readonly Behaviour[] = [
  {
    name: "a server by its address under another name",
    async run(bench) {
      await using upstream = await tlsUpstream({ names: [NAME], name: "secure" });
      const caCerts = [(await testCa()).cert];
      const peer = peerOf(upstream.address, { serverName: NAME, caCerts });
      for (let i = 0; i < 3; i++) {
        const response = await bench.send(peer, {
          method: "POST",
          target: "/a%2fb?c",
          headers: [["host", NAME]],
          body: bytesBody("content"),
        });
        assertEquals([response.status, await bodyText(response)], [200, "secure"]);
      }
      const [seen] = upstream.seen;
      assertEquals([seen?.method, seen?.target, seen?.headers.get("host"), seen?.body], [
        "POST",
        "/a%2fb?c",
        // The runtime shows no `:authority`.
        bench.can("HTTP/1.1 behind TLS") ? NAME : null,
        "content",
      ]);
    },
  },
  {
    name: "a server by the name that is also its host",
    async run(bench) {
      await using upstream = await tlsUpstream({ names: ["localhost"] });
      const peer = peerOf(`localhost:${upstream.port}`, {
        serverName: "localhost",
        caCerts: [(await testCa()).cert],
      });
      assertEquals(await bodyText(await bench.send(peer)), "upstream");
    },
  },
  {
    name: "HTTP/1.1 is what is agreed on with a server that would rather speak HTTP/2",
    needs: ["HTTP/1.1 behind TLS"],
    async run(bench) {
      const ca = await testCa();
      const agreed: (string | null)[] = [];
      const tls = { ...await ca.issue({ names: [NAME] }), alpnProtocols: ["h2", "http/1.1"] };
      await using upstream = rawUpstream(async (connection) => {
        agreed.push((await (connection.conn as Deno.TlsConn).handshake()).alpnProtocol);
        await answering(OK)(connection, 0);
      }, { tls });
      const peer = peerOf(upstream.address, { serverName: NAME, caCerts: [ca.cert] });
      assertEquals(await bodyText(await bench.send(peer)), "ok");
      assertEquals(agreed, ["http/1.1"]);
    },
  },
  {
    name: "content that lasts until the close is not whole when anybody but the server has closed",
    needs: ["HTTP/1.1 behind TLS"],
    async run(bench) {
      const ca = await testCa();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\n\r\nabc");
        await connection.untilClosed();
      }, { tls: await ca.issue({ names: [NAME] }) });
      await using relay = new CutRelay(upstream.port);
      const response = await bench.send(peerOf(relay.address, { serverName: NAME, caCerts: [ca.cert] }));
      const reader = bodyStream(response).getReader();
      assertEquals((await reader.read()).value?.length, 3);
      await relay.cut();
      // TLS ends with a message of its own; without it the end is forged (RFC 9112 section 9.8).
      const error = await assertRejects(() => reader.read(), UpstreamError);
      assertEquals([error.phase, error.status], ["answered", 502]);
    },
  },
  {
    name: "nothing but TLS goes to such a server",
    async run(bench) {
      const first: Uint8Array[] = [];
      await using upstream = rawUpstream(async (connection) => {
        const part = await connection.read();
        if (part !== null) first.push(part);
      });
      const peer = peerOf(upstream.address, { serverName: NAME, caCerts: [(await testCa()).cert] });
      await bench.fails(bench.send(peer), ["connection_terminated", "tls_protocol_error"], "unsent");
      // A handshake record of TLS 1.x, and in it the name (RFC 6066 section 3).
      assertEquals([first[0]?.[0], first[0]?.[1]], [22, 3]);
      assert(new TextDecoder().decode(first[0]).includes(NAME));
      assert(!new TextDecoder().decode(first[0]).includes("HTTP/1.1"));
    },
  },
  {
    name: "a certificate for another name is refused before anything is sent",
    async run(bench) {
      await using upstream = await tlsUpstream({ names: ["two.example"] });
      const peer = peerOf(upstream.address, { serverName: NAME, caCerts: [(await testCa()).cert] });
      const error = await bench.fails(bench.send(peer), "tls_certificate_error", "unsent");
      assertEquals([error.code, error.status, upstream.requests], ["tls_certificate_error", 502, 0]);
    },
  },
  {
    name: "a certificate of an unknown authority is refused",
    async run(bench) {
      await using upstream = await tlsUpstream({ names: [NAME] });
      for (const caCerts of [[], [(await TestCa.create("Somebody else")).cert]]) {
        const peer = peerOf(upstream.address, { serverName: NAME, caCerts });
        const error = await bench.fails(bench.send(peer), "tls_certificate_error", "unsent");
        assertEquals([error.code, upstream.requests], ["tls_certificate_error", 0]);
      }
    },
  },
  {
    name: "a certificate that has expired is refused",
    async run(bench) {
      const ca = await testCa();
      await using upstream = rawUpstream(answering(OK), {
        tls: await ca.issue({ names: [NAME], expired: true }),
      });
      const peer = peerOf(upstream.address, { serverName: NAME, caCerts: [ca.cert] });
      const error = await bench.fails(bench.send(peer), "tls_certificate_error", "unsent");
      assertEquals(error.code, "tls_certificate_error");
    },
  },
  {
    name: "a server that does not speak TLS",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.read();
        await connection.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        await connection.untilClosed();
      });
      const peer = peerOf(upstream.address, { serverName: NAME });
      await bench.fails(bench.send(peer), "tls_protocol_error", "unsent");
    },
  },
  {
    name: "the certificate of the proxy is shown",
    needs: ["HTTP/1.1 behind TLS"],
    async run(bench) {
      const ca = await testCa();
      await using upstream = await startClientCertUpstream({ names: [NAME] });
      const identity = await ca.issue({ names: ["proxy.example"], client: true });
      const peer = peerOf(upstream.address, { serverName: NAME, caCerts: [ca.cert], ...identity });
      assertEquals(await bodyText(await bench.send(peer)), "proxy.example");
      const nobody = peerOf(upstream.address, { serverName: NAME, caCerts: [ca.cert] });
      assertEquals(await bodyText(await bench.send(nobody)), "nobody");
    },
  },
  {
    name: "an unix socket",
    async run(bench) {
      const folder = await Deno.makeTempDir();
      try {
        const heads: string[] = [];
        const path = `${folder}/upstream.sock`;
        await using _upstream = rawUpstream(async (connection) => {
          for (let r = await connection.readRequest(); r !== null; r = await connection.readRequest()) {
            heads.push(r.head);
            await connection.write(OK);
          }
        }, { path });
        const peer = peerOf(`unix:${path}`);
        for (const host of ["a.example", "b.example:8080", "[::1]:6000", "under_score"]) {
          const response = await bench.send(peer, { target: "/a?b", headers: [["host", host]] });
          assertEquals(await bodyText(response), "ok");
          assert(heads.at(-1)!.includes(`host: ${host}\r\n`), heads.at(-1));
          assert(/^GET (http:\/\/[^/]+)?\/a\?b HTTP\/1.1\r\n/.test(heads.at(-1)!), heads.at(-1));
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  },
  {
    name: "an unix socket that is not there",
    async run(bench) {
      await bench.fails(bench.send(nowhere("unix:/nowhere/upstream.sock")), "connection_refused", "unsent");
    },
  },
  {
    name: "a port that browsers must not use",
    async run(bench) {
      // Any of these will do that is free; without one there is nothing to test.
      for (const port of [6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080]) {
        let upstream;
        try {
          upstream = rawUpstream(answering(OK), { port });
        } catch {
          continue;
        }
        await using _upstream = upstream;
        assertEquals(await bodyText(await bench.send(peerOf(upstream.address))), "ok");
        return;
      }
    },
  },
];
