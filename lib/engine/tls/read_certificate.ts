/** Parses a certificate (RFC 5280 section 4.1): the texts of `node:crypto` are ambiguous. */

/** The content of a certificate. */
export interface CertificateContent {
  /** Subject and issuer, as in RFC 4514. */
  readonly subject: string;
  readonly issuer: string;
  /** The same in DER, as hexadecimal digits, for comparing. */
  readonly subjectId: string;
  readonly issuerId: string;
  readonly serialNumber: string;
  /** In milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Subject alternative names, with their kinds as prefix: `dns:a.example`. */
  readonly names: readonly string[];
  /** Whether it may issue certificates, and the most intermediate authorities below it. */
  readonly isAuthority: boolean;
  readonly pathLength: number;
  /** Whether its key may sign certificates; `true` without a key usage. */
  readonly signsCertificates: boolean;
  /** Extended key usages, as hexadecimal digits of object identifiers; `null` without that extension. */
  readonly purposes: readonly string[] | null;
  /** Whether it has an unknown critical extension. */
  readonly hasUnknown: boolean;
}

/** One value of DER (ITU-T X.690): its tag, and where its content is. */
interface Value {
  readonly tag: number;
  readonly begin: number;
  readonly start: number;
  readonly end: number;
}

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OID = 0x06;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;

/** Object identifiers of extensions: 2.5.29.15, 17, 19, 37. */
const KEY_USAGE = "551d0f";
const ALT_NAMES = "551d11";
const BASIC_CONSTRAINTS = "551d13";
const EXTENDED_KEY_USAGE = "551d25";
/** Bit 5 of the key usage, keyCertSign. */
const KEY_CERT_SIGN = 0x04;

/** Names of attributes from RFC 4514 section 3, and some other common ones. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  "550403": "CN",
  "550405": "serialNumber",
  "550406": "C",
  "550407": "L",
  "550408": "ST",
  "550409": "STREET",
  "55040a": "O",
  "55040b": "OU",
  "0992268993f22c640101": "UID",
  "0992268993f22c640119": "DC",
  "2a864886f70d010901": "emailAddress",
};

/**
 * Parses a certificate.
 *
 * @throws {Error} when it is invalid
 */
export function readCertificateContent(der: Uint8Array): CertificateContent {
  const reader = new DerReader(der);
  const [signed] = reader.children(reader.whole(SEQUENCE));
  const fields = reader.children(expect(signed, SEQUENCE));
  // The version is tagged, and absent in version 1.
  const first = fields[0]?.tag === VERSION ? 1 : 0;
  const [serial, , issuer, validity, subject] = fields.slice(first);
  const [notBefore, notAfter] = reader.children(expect(validity, SEQUENCE));
  const found = reader.extensions(fields.find(({ tag }) => tag === EXTENSIONS));
  return {
    subject: reader.distinguishedName(expect(subject, SEQUENCE)),
    issuer: reader.distinguishedName(expect(issuer, SEQUENCE)),
    subjectId: reader.hex(subject!),
    issuerId: reader.hex(issuer!),
    serialNumber: reader.hex(expect(serial, INTEGER)).replace(/^00(?=.)/, ""),
    notBefore: reader.time(notBefore),
    notAfter: reader.time(notAfter),
    ...found,
  };
}

type Extensions = Pick<
  CertificateContent,
  "names" | "isAuthority" | "pathLength" | "signsCertificates" | "purposes" | "hasUnknown"
>;

function expect(value: Value | undefined, tag: number): Value {
  if (value?.tag !== tag) throw new Error("The certificate cannot be read");
  return value;
}

/** Parses bytes that an attacker may have written; the calling functions limit the depth. */
class DerReader {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  whole(tag: number): Value {
    const value = this.#value(0, this.#bytes.length);
    if (value.end !== this.#bytes.length) throw new Error("The certificate has something behind it");
    return expect(value, tag);
  }

  #value(begin: number, limit: number): Value {
    const bytes = this.#bytes;
    const tag = bytes[begin];
    let length = bytes[begin + 1] ?? 0;
    let start = begin + 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count === 0 || count > 3) throw new Error("The certificate has a length that cannot be read");
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[start + i] ?? 0);
      start += count;
    }
    const end = start + length;
    if (tag === undefined || end > limit) throw new Error("The certificate is cut off");
    return { tag, begin, start, end };
  }

  children({ start, end }: Value): Value[] {
    const found: Value[] = [];
    for (let at = start; at < end;) {
      const value = this.#value(at, end);
      found.push(value);
      at = value.end;
    }
    return found;
  }

  hex({ start, end }: Value): string {
    return this.#bytes.subarray(start, end).toHex();
  }

  time(value: Value | undefined): number {
    const long = value?.tag === GENERALIZED_TIME;
    const text = this.#latin1(long ? value : expect(value, UTC_TIME));
    const match =
      (long ? /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/).exec(
        text,
      );
    if (match === null) throw new Error("The certificate has a time that cannot be read");
    const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    // RFC 5280 section 4.1.2.5.1: two digits are a year from 1950 to 2049.
    return Date.UTC(long ? year : year + (year < 50 ? 2000 : 1900), month - 1, day, hour, minute, second);
  }

  #latin1({ start, end }: Value): string {
    return String.fromCharCode(...this.#bytes.subarray(start, end));
  }

  /** Writes a name as in RFC 4514, its last part first. */
  distinguishedName(name: Value): string {
    return this.children(name).map((part) =>
      this.children(expect(part, SET)).map((pair) => this.#attribute(expect(pair, SEQUENCE))).join("+")
    ).reverse().join(",");
  }

  #attribute(pair: Value): string {
    const [type, value] = this.children(pair);
    const oid = this.hex(expect(type, OID));
    if (value === undefined) throw new Error("The certificate has a name without a value");
    const text = this.#text(value);
    const name = ATTRIBUTES[oid];
    if (name === undefined || text === null) {
      return `${name ?? dotted(oid)}=#${this.#bytes.subarray(value.begin, value.end).toHex()}`;
    }
    return `${name}=${escapeValue(text)}`;
  }

  /** A text of a string type that names use; `null` for other types. */
  #text(value: Value): string | null {
    const bytes = this.#bytes.subarray(value.start, value.end);
    switch (value.tag) {
      case 0x0c:
        return new TextDecoder().decode(bytes);
      case 0x13:
      case 0x14:
      case 0x16:
        return this.#latin1(value);
      case 0x1e:
        return new TextDecoder("utf-16be").decode(bytes);
      default:
        return null;
    }
  }

  extensions(list: Value | undefined): Extensions {
    let names: string[] = [];
    let isAuthority = false;
    let pathLength = Infinity;
    let signsCertificates = true;
    let purposes: string[] | null = null;
    let hasUnknown = false;
    const [all] = list === undefined ? [] : this.children(list);
    for (const each of all === undefined ? [] : this.children(expect(all, SEQUENCE))) {
      const parts = this.children(expect(each, SEQUENCE));
      const critical = parts[1]?.tag === BOOLEAN && this.hex(parts[1]) !== "00";
      const content = this.#value(expect(parts.at(-1), OCTET_STRING).start, parts.at(-1)!.end);
      switch (this.hex(expect(parts[0], OID))) {
        case KEY_USAGE:
          // After the byte with the number of unused bits.
          signsCertificates =
            ((this.#bytes[expect(content, BIT_STRING).start + 1] ?? 0) & KEY_CERT_SIGN) !== 0;
          break;
        case ALT_NAMES:
          names = this.children(expect(content, SEQUENCE)).flatMap((name) => this.#altName(name) ?? []);
          break;
        case BASIC_CONSTRAINTS: {
          const constraints = this.children(expect(content, SEQUENCE));
          isAuthority = constraints[0]?.tag === BOOLEAN && this.hex(constraints[0]) !== "00";
          const length = constraints.find(({ tag }) => tag === INTEGER);
          if (length !== undefined) pathLength = Number(`0x${this.hex(length)}`);
          break;
        }
        case EXTENDED_KEY_USAGE:
          purposes = this.children(expect(content, SEQUENCE)).map((purpose) =>
            this.hex(expect(purpose, OID))
          );
          break;
        default:
          hasUnknown ||= critical;
      }
    }
    return { names, isAuthority, pathLength, signsCertificates, purposes, hasUnknown };
  }

  #altName(name: Value): string | null {
    switch (name.tag) {
      case 0x81:
        return `email:${this.#latin1(name)}`;
      case 0x82:
        return `dns:${this.#latin1(name).toLowerCase()}`;
      case 0x86:
        return `uri:${this.#latin1(name)}`;
      case 0x87:
        return `ip:${formatIp(this.#bytes.subarray(name.start, name.end))}`;
      default:
        return null;
    }
  }
}

function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from(
    { length: bytes.length >> 1 },
    (_, index) => (bytes[2 * index]! * 256 + bytes[2 * index + 1]!).toString(16),
  );
  return groups.join(":");
}

/** Escapes a value so that it cannot end its part (RFC 4514 section 2.4), or a line of a log. */
function escapeValue(text: string): string {
  return text.replace(/[,+"\\<>;=]|^[ #]| $/g, "\\$&")
    // deno-lint-ignore no-control-regex -- those are what is looked for
    .replace(/[\x00-\x1f\x7f]/g, (control) => `\\${control.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** An object identifier in dotted notation. */
function dotted(hex: string): string {
  const bytes = Uint8Array.fromHex(hex);
  const numbers: number[] = [];
  let value = 0;
  for (const byte of bytes) {
    value = value * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    numbers.push(value);
    value = 0;
  }
  const first = numbers.shift() ?? 0;
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - 40 * root, ...numbers].join(".");
}
