import { assertEquals } from "@std/assert";
import { WholeBody } from "../../../lib/http/message.ts";
import { FLAG, FRAME } from "../../../lib/http2/frame_type.ts";
import { Http2TestClient } from "../../support/http2_test_client.ts";
import { block, rawHttp2Upstream } from "../../support/raw_http2.ts";
import { startExample } from "../../support/start_example.ts";

const HEAD = [0x88, ...block([["content-type", "application/grpc"]])];

Deno.test("examples/grpc checks its servers, passes calls to them, and limits each method", async () => {
  const paths: string[] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    for (;;) {
      const head = await http2.until(FRAME.HEADERS);
      paths.push(new Map(http2.fieldsOf(head)).get(":path")!);
      await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, head.id, HEAD);
      // The state SERVING, and the same for everybody else.
      await http2.write(FRAME.DATA, 0, head.id, [0, 0, 0, 0, 2, 8, 1]);
      const trailers = block([["grpc-status", "0"]]);
      await http2.write(FRAME.HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, head.id, trailers);
    }
  });
  await using example = await startExample("grpc", {
    ownListen: true,
    set: {
      "listen.port": 0,
      "upstreams.greeter.servers": [upstream.address],
      "upstreams.greeter.healthCheck.interval": "1h",
    },
  });
  using client = await Http2TestClient.open(example.port, { secured: false });
  const fields = [["content-type", "application/grpc"], ["te", "trailers"]] as const;
  const call = (method: string) => {
    const body = new WholeBody(Uint8Array.of(0, 0, 0, 0, 0));
    return client.ask(`/${method}`, { method: "POST", scheme: "http", fields, body }).response();
  };
  const statusOf = async (method: string) => {
    const { fields, trailers } = await call(method);
    return trailers[1] ?? fields.find(([name]) => name === "grpc-status")?.[1];
  };
  const statuses = await Promise.all(
    Array.from({ length: 11 }, () => statusOf("helloworld.Greeter/SayHello")),
  );
  assertEquals(statuses, [...new Array(10).fill("0"), "8"]);
  assertEquals([await statusOf("helloworld.Greeter/Other"), await statusOf("other.Service/Method")], [
    "0",
    "12",
  ]);
  assertEquals(paths[0], "/grpc.health.v1.Health/Check");
  assertEquals(paths.filter((path) => path === "/helloworld.Greeter/SayHello").length, 10);
  await upstream.close();
});
