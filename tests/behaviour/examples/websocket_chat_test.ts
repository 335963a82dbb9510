import { assertEquals } from "@std/assert";
import { startExample } from "../../support/start_example.ts";
import { readAnswer } from "../../support/start_proxy.ts";
import { rawClient } from "../../support/raw_client.ts";
import { openWebSocket, upgradeHead } from "../../support/test_web_socket.ts";

Deno.test("examples/websocket_chat lets three talk, as long as they stay, and says goodbye", async () => {
  await using example = await startExample("websocket_chat");
  const join = () => openWebSocket(`ws://${example.address}/`, ["other", "chat"]);
  const people = [await join(), await join(), await join()];
  assertEquals(people.map(({ socket }) => socket.protocol), ["chat", "chat", "chat"]);
  people[0]!.socket.send("hello");
  assertEquals(await Promise.all(people.map((each) => each.next())), ["hello", "hello", "hello"]);

  assertEquals(await statusOf(example.port, []), 429);
  assertEquals(await people[0]!.close(), [1000, ""]);
  // The place is free when the proxy has seen the end of the WebSocket, which is no moment that a client can see.
  let status = 429;
  for (let look = 0; status === 429 && look < 100; look++) {
    status = await statusOf(example.port, ["Sec-WebSocket-Protocol: other"]);
  }
  assertEquals(status, 400);

  const stopped = example.stop();
  assertEquals(await Promise.all(people.slice(1).map(({ closed }) => closed)), [
    [1001, "the proxy stops"],
    [1001, "the proxy stops"],
  ]);
  await stopped;
});

/** Status of the answer to a request for a WebSocket. */
async function statusOf(port: number, lines: readonly string[]): Promise<number> {
  using client = await rawClient(port);
  await client.write(upgradeHead(lines));
  return (await readAnswer(client)).status;
}
