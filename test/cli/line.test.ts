import { describe, expect, test } from 'vitest'
import { Line, line } from '../../lib/cli/terminal/line.ts'
import { styled } from '../../lib/cli/terminal/style.ts'
import { hang, wrap } from '../../lib/cli/terminal/wrap.ts'

describe('a line that is cut', () => {
  test.each([
    ['fits', 'weight', 6, 'weight'],
    ['ends with the mark', 'weights', 6, 'weigh…'],
    ['counts escapes as they are written', 'a\u001Bb', 5, 'a\\u0…'],
    ['counts wide characters twice', '負荷分散', 6, '負荷…'],
    ['is the mark alone', 'weights', 1, '…'],
    ['is nothing', 'weights', 0, ''],
  ])('%s', (_, text, width, expected) => {
    const cut = Line.of(text).cut(width, '…')
    expect(cut.text).toBe(expected)
    expect(cut.width).toBeLessThanOrEqual(width)
  })

  test('ends its colours', () => {
    const green = Line.of('green').painted((text) => styled('green', text))
    const cut = line`a ${green} line`.cut(5, '…')
    expect(cut.text).toBe(`a ${styled('green', 'gr')}…`)
    expect(cut.width).toBe(5)
  })
})

describe('words that are wrapped', () => {
  test('fill lines, and one that is too long is broken', () => {
    expect(wrap(['upper=1000', 'lower=800', 'tunnel=gue:6080/csum'], 20)).toEqual([
      'upper=1000 lower=800',
      'tunnel=gue:6080/csum',
    ])
    expect(wrap(['[2001:db8::7]:8080', 'x'], 8)).toEqual(['[2001:db', '8::7]:80', '80 x'])
  })

  test.each([1, 0, -3])('have a character on each line where the width is %i', (width) => {
    expect(wrap(['ab', 'c'], width)).toEqual(['a', 'b', 'c'])
    expect(hang('', 'ab c', width)).toEqual(['a', 'b', 'c'])
  })

  test('hang below the first word', () => {
    expect(hang('in  ', '5 packets, 9 bytes', 14)).toEqual(['in  5 packets,', '    9 bytes'])
  })
})
