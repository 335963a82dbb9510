/** Servers that send what they must not. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { UpstreamError } from "../../../../lib/core/errors.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";
import { type Behaviour, bodyText, peerOf } from "../behaviour.ts";
import { HOSTILE_RESPONSES, type HostileResponse } from "../hostile_responses.ts";

function hostile({ name, bytes, content, lenient }: HostileResponse): Behaviour {
  return {
    name,
    async run(bench) {
      await using upstream = rawUpstream(async (connection, index) => {
        await connection.readRequest();
        // A server that is cut off in the middle of its answer has failed to write it.
        const answer = index === 0 ? bytes : "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";
        await connection.write(answer).catch(() => {});
      });
      const peer = peerOf(upstream.address);
      const outcome = await bench.send(peer).then(bodyText, rethrowUnlessExpected).catch(
        rethrowUnlessExpected,
      );
      const accepted = content ?? (bench.can("strict parsing") ? undefined : lenient);
      if (content !== undefined || typeof outcome === "string") assertEquals(outcome, accepted);
      else {assert(
          outcome.status === 502 && outcome.phase !== "unsent",
          `${outcome.code} in phase ${outcome.phase}`,
        );}
      // Whatever it was: nothing of it is left in the way of the next request.
      assertEquals(await bodyText(await bench.send(peer)), "next");
    },
  };
}

function rethrowUnlessExpected(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  throw error;
}

export const HOSTILITY: readonly Behaviour[] = [
  ...HOSTILE_RESPONSES.map(hostile),
  {
    name: "an answer before the request",
    async run(bench) {
      await using upstream = rawUpstream(async (connection, index) => {
        await connection.readRequest();
        const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        await connection.write(index === 0 ? answer + answer.replace("ok", "no") : answer);
        await connection.untilClosed();
      });
      const peer = peerOf(upstream.address);
      assertEquals(await bodyText(await bench.send(peer)), "ok");
      assertEquals(await bodyText(await bench.send(peer)), "ok");
      assertEquals(upstream.opened, 2);
    },
  },
  {
    name: "the list is as long as it was said to be",
    run() {
      assert(HOSTILE_RESPONSES.filter(({ content }) => content === undefined).length >= 60);
      return Promise.resolve();
    },
  },
  {
    name: "a request that would be two",
    async run(bench) {
      await using upstream = rawUpstream((connection) => connection.untilClosed());
      const peer = peerOf(upstream.address);
      const evil = ["/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /x", "/a b", "/\n", "/\x00", ""];
      for (const target of evil) await assertRejects(() => bench.send(peer, { target }));
      for (const method of ["GET / HTTP/1.1\r\nX:", "G T", "", "GET\n"]) {
        await assertRejects(() => bench.send(peer, { method }));
      }
      for (const connection of upstream.connections) assertEquals(connection.received, 0);
    },
  },
];
