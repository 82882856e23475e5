import { fileURLToPath } from 'node:url'
import { runInNewContext } from 'node:vm'
import { build } from 'esbuild'
import { beforeAll, describe, expect, test } from 'vitest'

/** ipvs/text where there is no Node: a bundle for browsers that is given only what browsers have. */

const DOOR = fileURLToPath(new URL('../../lib/text.ts', import.meta.url))

describe('ipvs/text in a browser', () => {
  let script = ''

  beforeAll(async () => {
    // A module of Node's is an error to a bundle for browsers.
    const result = await build({
      entryPoints: [DOOR],
      bundle: true,
      platform: 'browser',
      format: 'iife',
      globalName: 'text',
      write: false,
      logLevel: 'silent',
    })
    expect(result.warnings).toEqual([])
    script = result.outputFiles[0]?.text ?? ''
    expect(script).not.toMatch(/\brequire\(|["']node:/)
  })

  test('reads and writes every form, and lets others have their turn', async () => {
    let turns = 0
    let now = 1
    const work = `${script}
      ;(async () => {
        if (typeof process !== 'undefined' || typeof Buffer !== 'undefined' || typeof setImmediate !== 'undefined')
          throw new Error('this is Node')
        const state = { version: 1, services: [{ protocol: 'tcp', address: '192.0.2.1', port: 80, scheduler: 'rr',
          realServers: Array.from({ length: 2000 }, (_, i) => ({ address: '10.0.' + (i >> 8) + '.' + (i & 255),
            port: 80, method: 'direct', weight: 1 })) }] }
        for (const format of ['json', 'yaml', 'ipvsadm']) {
          const written = await text.formatState(state, { format })
          const read = await text.parseState(written)
          if (JSON.stringify(read) !== JSON.stringify(state)) throw new Error('not the same: ' + format)
        }
        const error = await text.parseState('-A -t x').catch((error) => error)
        return [error.name, error.line, error.column, text.formatServiceKey(text.parseServiceKey('fwmark6/5'))].join(' ')
      })()`
    const result: unknown = await runInNewContext(work, {
      // As slow on every machine: what is paced rests after some hundred steps.
      performance: { now: () => (now += 0.3) },
      TextEncoder,
      setTimeout: (callback: () => void, ms: number) => {
        turns += 1
        setTimeout(callback, ms)
      },
    })
    expect(result).toBe('StateSyntaxError 1 7 fwmark6/5')
    expect(turns).toBeGreaterThan(5)
  })
})
