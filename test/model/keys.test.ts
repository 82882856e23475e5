import { describe, expect, test } from 'vitest'
import {
  formatEndpoint,
  formatServiceKey,
  formatTunnel,
  parseEndpoint,
  parseServiceKey,
  type RealServerKey,
  type ServiceKey,
} from '../../lib/text.ts'

describe('a virtual service', () => {
  test.each<[string, ServiceKey]>([
    ['tcp/10.0.0.1:80', { protocol: 'tcp', address: '10.0.0.1', port: 80 }],
    ['udp/[2001:db8::1]:53', { protocol: 'udp', address: '2001:db8::1', port: 53 }],
    ['sctp/0.0.0.0:0', { protocol: 'sctp', address: '0.0.0.0', port: 0 }],
    ['50/10.0.0.1:65535', { protocol: 50, address: '10.0.0.1', port: 65535 }],
    ['fwmark/5', { protocol: 'fwmark', fwmark: 5, family: 'ipv4' }],
    ['fwmark6/4294967295', { protocol: 'fwmark', fwmark: 4294967295, family: 'ipv6' }],
  ])('%s is read and written', (text, key) => {
    expect(parseServiceKey(text)).toEqual(key)
    expect(formatServiceKey(key)).toBe(text)
  })

  test.each<[string, string]>([
    ['6/10.0.0.1:080', 'tcp/10.0.0.1:80'],
    ['tcp/[2001:DB8:0:0::1]:80', 'tcp/[2001:db8::1]:80'],
  ])('%s is another way to say %s', (text, same) => {
    expect(formatServiceKey(parseServiceKey(text))).toBe(same)
  })

  test.each<[string, RegExp]>([
    ['', /is written like 'tcp\/192\.0\.2\.10:80'.*got ''/],
    ['10.0.0.1:80', /is written like/],
    ['TCP/10.0.0.1:80', /is written like/],
    ['http/10.0.0.1:80', /is written like/],
    ['tcp/10.0.0.1', /the port is missing/],
    ['tcp/2001:db8::1', /the port is missing/],
    ['tcp/[2001:db8::1]', /the port is missing/],
    ['tcp/2001:db8::1:80', /the port is missing/],
    ['tcp/10.0.0.1:http', /is written like/],
    ['tcp/10.0.0.1:80/x', /is written like/],
    ['tcp/:80', /is written like/],
    ['tcp/10.0.0.1:65536', /port must be a whole number 0 to 65535, got 65536/],
    ['tcp/10.0.0.256:80', /address must be an IPv4 or IPv6 address/],
    ['65536/10.0.0.1:80', /protocol must be a whole number 0 to 65535/],
    ['fwmark/0', /fwmark must be a whole number 1 to 4294967295, got 0/],
    ['fwmark/-1', /is written like/],
    ['fwmark5', /is written like/],
  ])('is not %s', (text, reason) => {
    expect(() => parseServiceKey(text)).toThrow(reason)
  })

  test('is checked before it is written', () => {
    expect(() => formatServiceKey({ protocol: 'tcp', address: '10.0.0.1', port: 65536 })).toThrow(
      /port must be/,
    )
  })
})

describe('a real server', () => {
  test.each<[string, RealServerKey]>([
    ['10.0.0.7:8080', { address: '10.0.0.7', port: 8080 }],
    ['[2001:db8::7]:0', { address: '2001:db8::7', port: 0 }],
    ['10.0.0.7', { address: '10.0.0.7' }],
    ['2001:db8::7', { address: '2001:db8::7' }],
  ])('%s is read and written', (text, key) => {
    expect(parseEndpoint(text)).toEqual(key)
    expect(formatEndpoint(key)).toBe(text)
  })

  test('may have brackets without a port', () => {
    expect(parseEndpoint('[2001:DB8::7]')).toEqual({ address: '2001:db8::7' })
  })

  test.each<[string, RegExp]>([
    ['', /is written like '10\.0\.0\.7:8080', '\[2001:db8::7\]:8080', or an address alone; got ''/],
    ['10.0.0.7:', /is written like/],
    ['[2001:db8::7', /is written like/],
    ['web:80', /names are not looked up/],
    ['10.0.0.7:65536', /port must be a whole number 0 to 65535/],
    ['10.0.0.0/24', /not a network/],
  ])('is not %s', (text, reason) => {
    expect(() => parseEndpoint(text)).toThrow(reason)
  })
})

test.each([
  [{ type: 'ipip' }, 'ipip'],
  [{ type: 'gue', port: 6080 }, 'gue:6080'],
  [{ type: 'gue', port: 6080, checksum: 'csum' }, 'gue:6080/csum'],
  [{ type: 'gre', checksum: 'none' }, 'gre'],
  [{ type: 7, checksum: 5 }, '7/5'],
] as const)('the tunnel %o is written %s', (tunnel, text) => {
  expect(formatTunnel(tunnel)).toBe(text)
})
