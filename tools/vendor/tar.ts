/**
 * Reads the files of a `.tgz` from an npm registry: a gzip stream of ustar records,
 * with pax (`x`) or GNU (`L`) records before names that do not fit the header.
 *
 * @module
 */

/** Size of a tar record in bytes: a header is one record, and a file is padded to a multiple. */
const RECORD = 512;

/** Unpacks a gzipped tar archive into its regular files, by path in the archive. */
export async function readTarball(tgz: Uint8Array<ArrayBuffer>): Promise<Map<string, Uint8Array>> {
  const plain = new Blob([tgz]).stream().pipeThrough(new DecompressionStream("gzip"));
  return readTar(new Uint8Array(await new Response(plain).arrayBuffer()));
}

/** Reads the regular files of a plain tar archive; skips directories, links and the like. */
export function readTar(tar: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let longName: string | undefined;
  for (let at = 0; at + RECORD <= tar.length;) {
    const header = tar.subarray(at, at + RECORD);
    if (header[0] === 0) break;
    const size = parseInt(text(header, 124, 12).trim() || "0", 8);
    if (!Number.isSafeInteger(size) || at + RECORD + size > tar.length) {
      throw new RangeError(`Cannot read the tar archive: a file of ${size} bytes at ${at} passes its end`);
    }
    const body = tar.subarray(at + RECORD, at + RECORD + size);
    at += RECORD + Math.ceil(size / RECORD) * RECORD;

    const type = text(header, 156, 1);
    if (type === "x") longName = paxPath(body) ?? longName;
    else if (type === "L") longName = text(body, 0, body.length);
    else {
      if (type === "0" || type === "") files.set(longName ?? headerName(header), body);
      longName = undefined;
    }
  }
  return files;
}

function headerName(header: Uint8Array): string {
  const prefix = text(header, 345, 155);
  const name = text(header, 0, 100);
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** The `path` of a pax record: lines of `LENGTH KEY=VALUE\n`, where LENGTH counts the bytes of the whole line. */
function paxPath(body: Uint8Array): string | undefined {
  for (let at = 0; at < body.length;) {
    const length = parseInt(text(body, at, 20), 10);
    if (!(length > 0)) return undefined;
    const [, key, value] = /^\d+ ([^=]+)=(.*)\n$/s.exec(text(body, at, length)) ?? [];
    if (key === "path") return value;
    at += length;
  }
  return undefined;
}

/** A text field of the archive; ends at its first NUL byte or at the end of the field. */
function text(bytes: Uint8Array, from: number, length: number): string {
  const field = bytes.subarray(from, from + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end === -1 ? field : field.subarray(0, end));
}
