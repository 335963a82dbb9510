/** A plain proxy with node:http, without a library: `node node_http.mjs LISTEN_PORT SERVER_PORT...`. */

import { Agent, createServer, request as send } from "node:http";
import { argv } from "node:process";

const [listenPort, ...ports] = argv.slice(2).map(Number);
const agent = new Agent({ keepAlive: true });
let turn = 0;

createServer((request, response) => {
  const port = ports[turn++ % ports.length];
  const { method, url: path, headers } = request;
  const upstream = send({ agent, host: "127.0.0.1", port, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  upstream.on("error", () => response.writeHead(502).end());
  request.pipe(upstream);
}).listen(listenPort, "127.0.0.1");
