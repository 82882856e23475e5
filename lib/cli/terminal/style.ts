import { styleText } from 'node:util'
import { Line, type Word } from './line.ts'
import { type Environment, isSet, type Output } from './surroundings.ts'

const FORMATS = ['bold', 'dim', 'red', 'green', 'yellow', 'cyan'] as const
type Format = (typeof FORMATS)[number]

/** Ways to show a text; without colours they leave it as it is. */
export type Style = Readonly<Record<Format, (text: Word) => Line>>

/**
 * Whether to write colours to an output: where a terminal has them, unless
 * NO_COLOR (no-color.org) is set. FORCE_COLOR overrides both, in a pipe too.
 */
export function hasColor(output: Pick<Output, 'isTTY' | 'hasColors'>, env: Environment): boolean {
  const forced = env.FORCE_COLOR
  if (forced !== undefined) return forced !== '0' && forced !== 'false'
  // An empty NO_COLOR means nothing, but Node takes it for one that is set.
  const { NO_COLOR: none, ...others } = env
  return output.isTTY === true && output.hasColors?.(isSet(none) ? env : others) === true
}

export function styleFor(output: Pick<Output, 'isTTY' | 'hasColors'>, env: Environment): Style {
  const color = hasColor(output, env)
  const paint =
    (format: Format) =>
    (text: Word): Line =>
      color ? Line.of(text).painted((shown) => styled(format, shown)) : Line.of(text)
  return Object.fromEntries(FORMATS.map((format) => [format, paint(format)])) as unknown as Style
}

/** With Node's codes, whatever this process has for a terminal. */
export function styled(format: Format, text: string): string {
  return styleText(format, text, { validateStream: false })
}

/** Whether the terminal shows more than ASCII, as far as the locale says. */
export function hasUnicode(env: Environment): boolean {
  const locale = [env.LC_ALL, env.LC_CTYPE, env.LANG].find(isSet) ?? ''
  return /utf-?8/i.test(locale)
}
