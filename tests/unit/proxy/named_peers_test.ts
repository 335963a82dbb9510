import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { NamedPeers } from "../../../lib/proxy/proxy_runtime.ts";
import { formatAddress } from "../../../lib/upstream/peer.ts";

const at = (port: number) => ({ address: `127.0.0.1:${port}` });

Deno.test("NamedPeers keeps so many, and forgets the one that was unused for longest", () => {
  const forgotten: string[] = [];
  const peers = new NamedPeers({ onForget: (peer) => forgotten.push(formatAddress(peer.address)) });
  const first = peers.get(at(1));
  for (let port = 2; port <= 1000; port++) peers.get(at(port));
  assertEquals(forgotten, []);
  assertStrictEquals(peers.get(at(1)), first, "used again");
  const second = peers.get(at(2));
  peers.get(at(1001));
  assertEquals(forgotten, ["127.0.0.1:3"]);
  assertStrictEquals(peers.get(at(2)), second);
  assertNotStrictEquals(peers.get(at(3)), first, "made anew");
  assertEquals(forgotten, ["127.0.0.1:3", "127.0.0.1:4"]);
});
