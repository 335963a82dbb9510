import { assertEquals } from "@std/assert";
import { RedisNodes } from "../../../lib/redis/redis_nodes.ts";

const node = (hostname: string, port = 6379) => ({ hostname, port });

Deno.test("RedisNodes takes those that were configured in turn", () => {
  const nodes = new RedisNodes([node("a"), node("b")]);
  const seen = [nodes.current.hostname];
  for (let i = 0; i < 3; i++) {
    nodes.next();
    seen.push(nodes.current.hostname);
  }
  assertEquals(seen, ["a", "b", "a", "b"]);
});

Deno.test("RedisNodes.follow() takes the server that a cluster names, and nothing else", () => {
  const table: [message: string, expected: { hostname: string; port: number } | null][] = [
    ["MOVED 8034 10.0.0.7:7001", node("10.0.0.7", 7001)],
    ["MOVED 8034 ::1:7001", node("::1", 7001)],
    ["MOVED 8034 redis-1.example:7001", node("redis-1.example", 7001)],
    ["MOVED 8034 :7001", node("a", 7001)],
    ["MOVED 8034 ?:7001", null],
    ["MOVED 8034 b:0", null],
    ["MOVED 8034 b:99999", null],
    ["MOVED 8034 a:6379", null],
    ["ASK 8034 b:7001", null],
    ["ERR MOVED 8034 b:7001", null],
  ];
  for (const [message, expected] of table) {
    const nodes = new RedisNodes([node("a")]);
    assertEquals(nodes.follow(message), expected !== null, message);
    assertEquals(nodes.current, expected ?? node("a"), message);
  }
});

Deno.test("RedisNodes returns to those that were configured when a cluster sends it round, or the named one fails", () => {
  const nodes = new RedisNodes([node("a"), node("b")]);
  nodes.follow("MOVED 1 x:1");
  nodes.next();
  assertEquals(nodes.current.hostname, "a");
  const turns = [1, 2, 1, 2, 1, 2].map((port) => nodes.follow(`MOVED 1 x:${port}`));
  assertEquals(turns, [true, true, true, true, true, false]);
  nodes.next();
  assertEquals(nodes.current.hostname, "a");
  for (const port of [1, 2, 1, 2, 1, 2]) {
    assertEquals(nodes.follow(`MOVED 1 x:${port}`), true);
    nodes.settle();
  }
});
