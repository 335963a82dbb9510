/** Where bodies begin and end. */

import { assert, assertEquals } from "@std/assert";
import { fieldOf, latin1Text, type RawMessage } from "../../../support/raw_connection.ts";
import { type RawUpstream, rawUpstream } from "../../../support/raw_upstream.ts";
import { bytesBody, streamBody } from "../../../support/request_body.ts";
import { type Behaviour, bodyText, peerOf, type SendInput } from "../behaviour.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Sends one request and gives what the server got. */
async function received(bench: Parameters<Behaviour["run"]>[0], input: SendInput): Promise<RawMessage> {
  let message: RawMessage | null = null;
  await using upstream = rawUpstream(async (connection) => {
    message = await connection.readRequest();
    await connection.write(OK);
    await connection.untilClosed();
  });
  await bodyText(await bench.send(peerOf(upstream.address), input));
  return message!;
}

function framingOf({ fields }: RawMessage): [string | undefined, string | undefined] {
  return [fieldOf(fields, "content-length"), fieldOf(fields, "transfer-encoding")];
}

/** An upstream that answers every request with the next of these texts and keeps its connections open. */
function answersInTurn(answers: readonly string[]): RawUpstream {
  let next = 0;
  return rawUpstream(async (connection) => {
    while (await connection.readHead() !== null) await connection.write(answers[next++]!);
  });
}

export const FRAMING: readonly Behaviour[] = [
  {
    name: "a request without content has no framing",
    async run(bench) {
      for (const method of ["GET", "HEAD", "DELETE", "OPTIONS"]) {
        assertEquals(framingOf(await received(bench, { method })), [undefined, undefined], method);
      }
    },
  },
  {
    name: "a POST without content says so",
    async run(bench) {
      for (const body of [null, bytesBody("")]) {
        const message = await received(bench, { method: "POST", body });
        const [length, coding] = framingOf(message);
        assert(length === "0" || (coding === "chunked" && !bench.can("empty POST with a length")));
        assertEquals(message.body.length, 0);
      }
    },
  },
  {
    name: "content of known length keeps it",
    async run(bench) {
      for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
        for (const body of [bytesBody("hello"), streamBody(["he", "l", "lo"], 5)]) {
          const message = await received(bench, { method, body });
          assertEquals(framingOf(message), ["5", undefined]);
          assertEquals(latin1Text(message.body), "hello");
        }
      }
    },
  },
  {
    name: "content of unknown length is chunked",
    async run(bench) {
      for (const pieces of [["he", "l", "lo"], ["x"], []]) {
        const message = await received(bench, { method: "POST", body: streamBody(pieces) });
        assertEquals(framingOf(message), [undefined, "chunked"]);
        assertEquals(latin1Text(message.body), pieces.join(""));
      }
    },
  },
  {
    name: "an empty piece in a stream does not end it",
    async run(bench) {
      const message = await received(bench, { method: "POST", body: streamBody(["a", "", "b"]) });
      assertEquals(latin1Text(message.body), "ab");
    },
  },
  {
    name: "framing fields of the request are not believed",
    async run(bench) {
      const headers: [string, string][] = [["host", "h"], ["content-length", "99"], [
        "transfer-encoding",
        "chunked",
      ]];
      const message = await received(bench, { method: "POST", headers, body: bytesBody("abc") });
      assertEquals(framingOf(message), ["3", undefined]);
      const lines = message.fields.filter(([name]) => /content-length|transfer-encoding/i.test(name));
      assertEquals(lines.length, 1);
    },
  },
  {
    name: "answers without content end with their head, whatever their fields say",
    async run(bench) {
      const cases = [
        ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
        ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
        ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
        ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n"],
        ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        ["GET", OK],
      ] as const;
      await using upstream = answersInTurn(cases.map(([, answer]) => answer));
      const peer = peerOf(upstream.address);
      for (const [method, answer] of cases) {
        const response = await bench.send(peer, { method });
        assertEquals(await bodyText(response), answer === OK ? "ok" : "");
        if (method === "HEAD" && answer.includes("1000")) {
          assertEquals(response.headers.get("content-length"), "1000");
        }
      }
      bench.usedOneConnection(upstream);
    },
  },
  {
    name: "interim answers are skipped",
    async run(bench) {
      const interim =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
      await using upstream = answersInTurn([`${interim}HTTP/1.1 102 Processing\r\n\r\n${OK}`, OK]);
      const peer = peerOf(upstream.address);
      for (let i = 0; i < 2; i++) {
        const response = await bench.send(peer);
        assertEquals([response.status, await bodyText(response), response.headers.get("link")], [
          200,
          "ok",
          null,
        ]);
      }
      bench.usedOneConnection(upstream);
    },
  },
  {
    name: "chunked content is undone, with extensions and trailers, however it is cut",
    async run(bench) {
      const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n" +
        "3;a=b\r\nabc\r\n0A\r\n0123456789\r\n1\r\n\n\r\n000\r\nX: 1\r\nY: 2\r\n\r\n";
      for (const step of [1, 7, answer.length]) {
        await using upstream = rawUpstream(async (connection) => {
          while (await connection.readHead() !== null) {
            for (let at = 0; at < answer.length; at += step) {
              await connection.write(answer.slice(at, at + step));
            }
          }
        });
        const peer = peerOf(upstream.address);
        for (let i = 0; i < 2; i++) {
          const response = await bench.send(peer);
          assertEquals(response.headers.get("transfer-encoding"), null);
          assertEquals(await bodyText(response), "abc0123456789\n");
        }
        bench.usedOneConnection(upstream);
      }
    },
  },
  {
    name: "content without framing goes on until the server closes",
    async run(bench) {
      for (const head of ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nX: y\r\n\r\n"]) {
        await using upstream = rawUpstream(async (connection) => {
          await connection.readHead();
          await connection.write(head);
          for (const piece of ["to ", "the ", "end"]) await connection.write(piece);
        });
        assertEquals(await bodyText(await bench.send(peerOf(upstream.address))), "to the end");
      }
    },
  },
  {
    name: "bytes after the end of an answer never become a part of the next one",
    async run(bench) {
      await using upstream = rawUpstream(async (connection, index) => {
        await connection.readHead();
        await connection.write(index === 0 ? `${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil` : OK);
        if (await connection.readHead() !== null) await connection.write(OK);
      });
      const peer = peerOf(upstream.address);
      for (let i = 0; i < 2; i++) assertEquals(await bodyText(await bench.send(peer)), "ok");
    },
  },
];
