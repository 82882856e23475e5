import { describe, expect, test } from 'vitest'
import {
  compareEndpoints,
  compareServiceKeys,
  formatEndpoint,
  formatServiceKey,
  parseEndpoint,
  parseServiceKey,
} from '../../lib/text.ts'

/** In order. */
const SERVICES = [
  '7/10.0.0.1:0',
  '50/10.0.0.1:0',
  '200/10.0.0.1:0',
  'fwmark/2',
  'fwmark/10',
  'fwmark6/1',
  'sctp/10.0.0.1:80',
  'tcp/9.255.255.255:80',
  'tcp/10.0.0.9:80',
  'tcp/10.0.0.10:9',
  'tcp/10.0.0.10:80',
  'tcp/10.0.0.10:443',
  'tcp/200.0.0.1:80',
  'tcp/[::]:80',
  'tcp/[::ffff:10.0.0.1]:80',
  'tcp/[2001:db8::a]:80',
  'tcp/[2001:db8::10]:80',
  'tcp/[2001:db8:0:1::]:80',
  'tcp/[2001:db8:10::]:80',
  'udp/10.0.0.1:53',
]

const SERVERS = [
  '10.0.0.9',
  '10.0.0.9:1',
  '10.0.0.9:90',
  '10.0.0.10:8',
  '[2001:db8::a]:80',
  '[2001:db8::10]:80',
]

function shuffled<T>(list: readonly T[]): T[] {
  return list.map((_, index) => list[(index * 7) % list.length] as T)
}

describe('the order that people see', () => {
  test('of services', () => {
    const keys = shuffled(SERVICES).map((text) => parseServiceKey(text))
    expect(keys.sort(compareServiceKeys).map((key) => formatServiceKey(key))).toEqual(SERVICES)
  })

  test('of real servers', () => {
    const keys = [...SERVERS].reverse().map((text) => parseEndpoint(text))
    expect(keys.sort(compareEndpoints).map((key) => formatEndpoint(key))).toEqual(SERVERS)
  })

  test.each(SERVICES)('%s is equal to itself, and the two ways to compare agree', (text) => {
    const one = parseServiceKey(text)
    expect(compareServiceKeys(one, parseServiceKey(text))).toBe(0)
    for (const other of SERVICES.map((name) => parseServiceKey(name)))
      expect(compareServiceKeys(one, other) + compareServiceKeys(other, one)).toBe(0)
  })

  test('takes two spellings of an address for the same', () => {
    expect(compareEndpoints({ address: '2001:DB8:0::1', port: 1 }, { address: '2001:db8::1', port: 1 })).toBe(
      0,
    )
  })
})
