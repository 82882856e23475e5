import { expect, test } from 'vitest'
import { ConnectionParser } from '../../lib/observe/connections.ts'

const HEADER = 'Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n'

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

function parse(...lines: string[]): unknown[] {
  return new ConnectionParser().parse(encode(HEADER + lines.map((line) => `${line}\n`).join('')))
}

/** As Linux 6.12 writes them. */
test('reads connections of both families, and templates', () => {
  expect(
    parse(
      'TCP 0A0A0002 8630 0A0A0064 0050 0A140003 1F90 ESTABLISHED     894',
      'IP  0A0A0002 0000 00000007 0000 0A140003 0000 ASSURED          84',
      'UDP 0A0A0002 0000 0A0A0064 13C4 0A140002 13C4 ASSURED          54 sip abc 123@host.example',
      'TCP fd00:0010:0000:0000:0000:0000:0000:0002 BE82 fd00:0010:0000:0000:0000:0000:0000:0100 0050 0A140002 1F90 FIN_WAIT        7',
    ),
  ).toEqual([
    {
      protocol: 'tcp',
      clientAddress: '10.10.0.2',
      clientPort: 34352,
      virtualAddress: '10.10.0.100',
      virtualPort: 80,
      serverAddress: '10.20.0.3',
      serverPort: 8080,
      state: 'ESTABLISHED',
      expiresSeconds: 894,
      template: false,
    },
    {
      protocol: 0,
      clientAddress: '10.10.0.2',
      clientPort: 0,
      virtualAddress: '0.0.0.7',
      virtualPort: 0,
      serverAddress: '10.20.0.3',
      serverPort: 0,
      state: 'ASSURED',
      expiresSeconds: 84,
      template: true,
    },
    {
      protocol: 'udp',
      clientAddress: '10.10.0.2',
      clientPort: 0,
      virtualAddress: '10.10.0.100',
      virtualPort: 5060,
      serverAddress: '10.20.0.2',
      serverPort: 5060,
      state: 'ASSURED',
      expiresSeconds: 54,
      template: true,
      persistenceEngine: 'sip',
      persistenceData: 'abc 123@host.example',
    },
    {
      protocol: 'tcp',
      clientAddress: 'fd00:10::2',
      clientPort: 48770,
      virtualAddress: 'fd00:10::100',
      virtualPort: 80,
      serverAddress: '10.20.0.2',
      serverPort: 8080,
      state: 'FIN_WAIT',
      expiresSeconds: 7,
      template: false,
    },
  ])
})

test('knows protocols by the words of ip_vs_proto_name()', () => {
  const words = ['SCTP', 'ICMP', 'ICMPv6', 'IP_47']
  const lines = words.map((word) => `${word} 0A0A0002 0001 0A0A0064 0050 0A140003 1F90 NONE              1`)
  expect(parse(...lines)).toMatchObject([
    { protocol: 'sctp' },
    { protocol: 1 },
    { protocol: 58 },
    { protocol: 47 },
  ])
})

test('leaves out what it cannot read, and a last line that is cut short', () => {
  const line = 'TCP 0A0A0002 8630 0A0A0064 0050 0A140003 1F90 ESTABLISHED     894'
  expect(parse('', 'nonsense', 'XYZ 0A0A0002 8630 0A0A0064 0050 0A140003 1F90 NONE 1')).toEqual([])
  const whole = HEADER + `${line}\n`
  for (let length = 0; length < whole.length; length++) {
    expect(new ConnectionParser().parse(encode(whole.slice(0, length))), String(length)).toEqual([])
  }
  expect(parse(line)).toHaveLength(1)
})

test('a piece may end anywhere, also inside a character', () => {
  const line = 'UDP 0A0A0002 0000 0A0A0064 13C4 0A140002 13C4 ASSURED          54 sip '
  const bytes = encode(`${HEADER}${line}grün\n${line}größer\n`)
  const whole = new ConnectionParser().parse(bytes)
  expect(whole.map(({ persistenceData }) => persistenceData)).toEqual(['grün', 'größer'])
  for (let at = 0; at <= bytes.length; at++) {
    const parser = new ConnectionParser()
    const pieces = [bytes.subarray(0, at), bytes.subarray(at)]
    expect(
      pieces.flatMap((piece) => parser.parse(piece)),
      String(at),
    ).toEqual(whole)
  }
})
