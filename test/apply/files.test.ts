import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readState, type State } from '../../lib/index.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'

/** Saving to files and restoring from them, over the in-memory kernel. */

const STATE: State = {
  services: [
    {
      protocol: 'tcp',
      address: '10.0.0.1',
      port: 80,
      realServers: [
        { address: '10.1.0.2', port: 80, weight: 10 },
        { address: '10.1.0.1', port: 80, weight: 1 },
      ],
    },
  ],
}

let folder: string
let kernel: MemoryKernel
let ipvs: Ipvs

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-files-'))
  kernel = createMemoryKernel()
  ipvs = await Ipvs.open({ transport: kernel })
  await ipvs.restore(STATE)
})

afterEach(() => {
  rmSync(folder, { recursive: true })
})

const at = (name: string): string => join(folder, name)
const modeOf = (name: string): number => lstatSync(at(name)).mode & 0o777

describe('saveToFile', () => {
  test.each([
    ['a.json', /^\{\n/],
    ['a.yaml', /^version: 1\n/],
    ['a.YML', /^version: 1\n/],
    ['a.rules', /^-A -t 10\.0\.0\.1:80 -s wlc\n-a /],
    ['a.ipvs', /^-A /],
    ['a.save', /^-A /],
  ])('writes %s in the format of its name, and restores it', async (name, form) => {
    const saved = await ipvs.saveToFile(at(name))
    expect(readFileSync(at(name), 'utf8')).toMatch(form)
    await ipvs.flush()
    await ipvs.restoreFromFile(at(name))
    expect(await ipvs.save()).toEqual(saved)
  })

  test('takes a format that is named', async () => {
    await ipvs.saveToFile(at('table'), { format: 'ipvsadm' })
    expect(readFileSync(at('table'), 'utf8')).toMatch(/^-A /)
    await expect(ipvs.saveToFile(at('table'))).rejects.toThrow('does not say the format: end it in .json')
    await expect(ipvs.saveToFile(at('table'), { format: 'xml' as 'json' })).rejects.toThrow(
      "format must be one of 'json'",
    )
  })

  test.each<[object | null, string]>([
    [null, 'options must be an object, got null'],
    [{ fromat: 'json' }, "options have no field 'fromat': did you mean 'format'?"],
    [{ loss: 1 }, "options have no field 'loss': did you mean 'onLoss'?"],
    [{ other: 1 }, "options have no field 'other', only 'format', 'onLoss', 'schema'"],
    [{ onLoss: true }, 'onLoss must be a function, got true'],
    [{ keep: -1 }, 'keep must be a whole number 0 to 100, got -1'],
    [{ allowEmpty: 1 }, 'allowEmpty must be true or false, got 1'],
  ])('refuses options %j', async (options, message) => {
    await expect(ipvs.saveToFile(at('a.json'), options as object)).rejects.toThrow(message)
    expect(readdirSync(folder)).toEqual([])
  })

  test('is for the owner alone, and stays stricter where it was', async () => {
    await ipvs.saveToFile(at('new.json'))
    expect(modeOf('new.json')).toBe(0o600)
    writeFileSync(at('old.json'), '')
    chmodSync(at('old.json'), 0o644)
    await ipvs.saveToFile(at('old.json'))
    expect(modeOf('old.json')).toBe(0o600)
    chmodSync(at('old.json'), 0o400)
    await ipvs.saveToFile(at('old.json'))
    expect(modeOf('old.json')).toBe(0o400)
  })

  test.runIf(process.geteuid?.() === 0)(
    'by root leaves a service its file, but not in a folder of others',
    async () => {
      const { chown } = await import('node:fs/promises')
      mkdirSync(at('service'))
      await chown(at('service'), 4321, 4321)
      for (const name of ['service/a.json', 'shared.json']) {
        writeFileSync(at(name), '')
        await chown(at(name), 4321, 4321)
        await ipvs.saveToFile(at(name))
      }
      expect(lstatSync(at('service/a.json')).uid).toBe(4321)
      expect(lstatSync(at('shared.json')).uid).toBe(0)
      // As systemd makes /var/lib/NAME where it says DynamicUser=yes.
      symlinkSync(at('service'), at('link'))
      await ipvs.saveToFile(at('link/a.json'))
      expect(lstatSync(at('service/a.json')).uid).toBe(4321)
    },
  )

  test('neither follows nor replaces a symbolic link', async () => {
    writeFileSync(at('target.json'), 'precious')
    symlinkSync(at('target.json'), at('link.json'))
    symlinkSync(at('nowhere'), at('dangling.json'))
    for (const name of ['link.json', 'dangling.json']) {
      await expect(ipvs.saveToFile(at(name))).rejects.toMatchObject({ code: 'ELOOP', path: at(name) })
      expect(lstatSync(at(name)).isSymbolicLink()).toBe(true)
    }
    expect(readFileSync(at('target.json'), 'utf8')).toBe('precious')
    expect(existsSync(at('nowhere'))).toBe(false)
  })

  test('takes the place of no folder, and needs one to be in', async () => {
    mkdirSync(at('folder.json'))
    await expect(ipvs.saveToFile(at('folder.json'))).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(ipvs.saveToFile(at('gone/a.json'))).rejects.toMatchObject({ code: 'ENOENT' })
    expect(readdirSync(folder)).toEqual(['folder.json'])
  })

  test.each([
    ['the kernel refuses', () => (kernel.privileged = false)],
    ['lines of ipvsadm cannot say it', () => ipvs.addService({ protocol: 50, address: '10.0.0.1', port: 1 })],
  ])('leaves the old file and nothing else where %s', async (_, spoil) => {
    writeFileSync(at('a.rules'), 'old')
    await spoil()
    await expect(ipvs.saveToFile(at('a.rules'))).rejects.toThrow()
    expect(readFileSync(at('a.rules'), 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['a.rules'])
  })

  test('takes a name as long as names can be', async () => {
    const name = `${'a'.repeat(250)}.json`
    await ipvs.saveToFile(at(name))
    expect(readdirSync(folder)).toEqual([name])
  })

  test('goes without what lines of ipvsadm cannot say, where the caller hears of it', async () => {
    await ipvs.addService({ protocol: 50, address: '10.0.0.1', port: 1 })
    const losses: string[] = []
    await ipvs.saveToFile(at('a.rules'), { onLoss: ({ path }) => losses.push(path) })
    expect(losses).toHaveLength(1)
  })

  test('shows a reader the old text or the new one, never a part', async () => {
    await ipvs.saveToFile(at('a.json'))
    const texts = new Set<string>()
    const done = new AbortController()
    const reader = (async () => {
      while (!done.signal.aborted) {
        texts.add(readFileSync(at('a.json'), 'utf8'))
        await new Promise((resolve) => setImmediate(resolve))
      }
    })()
    for (let weight = 1; weight <= 20; weight++) {
      await ipvs.editRealServer(
        { protocol: 'tcp', address: '10.0.0.1', port: 80 },
        { address: '10.1.0.1' },
        { weight },
      )
      await ipvs.saveToFile(at('a.json'))
    }
    done.abort()
    await reader
    for (const text of texts) expect(() => JSON.parse(text) as unknown).not.toThrow()
    expect(readdirSync(folder)).toEqual(['a.json', 'a.json~'])
  })
})

describe('versions before', () => {
  const WEB = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
  const weights = (): Record<string, number | undefined> =>
    Object.fromEntries(
      readdirSync(folder).map((name) => {
        const { services } = JSON.parse(readFileSync(at(name), 'utf8')) as State
        return [name, services?.[0]?.realServers?.[1]?.weight]
      }),
    )
  const saveWeight = async (weight: number, options: object = {}): Promise<void> => {
    await ipvs.editRealServer(WEB, { address: '10.1.0.1' }, { weight })
    await ipvs.saveToFile(at('a.json'), options)
  }

  test('one is kept if it differs, with the mode of the file', async () => {
    await saveWeight(1)
    chmodSync(at('a.json'), 0o640)
    await saveWeight(2)
    expect([modeOf('a.json'), modeOf('a.json~')]).toEqual([0o600, 0o600])
    await saveWeight(2)
    expect(weights()).toEqual({ 'a.json': 2, 'a.json~': 1 })
    await saveWeight(3)
    expect(weights()).toEqual({ 'a.json': 3, 'a.json~': 2 })
    expect((await readState(at('a.json~'))).services).toHaveLength(1)
  })

  test('as many are kept as asked for, the newest first, or none', async () => {
    for (const weight of [1, 2, 3, 4, 5]) await saveWeight(weight, { keep: 3 })
    expect(weights()).toEqual({ 'a.json': 5, 'a.json~': 4, 'a.json~2': 3, 'a.json~3': 2 })
    await saveWeight(6, { keep: 0 })
    expect(weights()).toEqual({ 'a.json': 6, 'a.json~': 4, 'a.json~2': 3, 'a.json~3': 2 })
  })

  test('are never written through a link, and then nothing is replaced', async () => {
    await saveWeight(1)
    symlinkSync('/nowhere/precious', at('a.json~'))
    await expect(saveWeight(2)).rejects.toMatchObject({
      code: 'ELOOP',
      message: expect.stringContaining('a.json~ is a symbolic link') as string,
    })
    expect(readdirSync(folder)).toEqual(['a.json', 'a.json~'])
    rmSync(at('a.json~'))
    expect(weights()).toEqual({ 'a.json': 1 })
  })
})

describe('an empty table', () => {
  test.each(['a.json', 'a.yaml', 'a.rules'])(
    'does not replace %s, which has services, unless allowed',
    async (name) => {
      await ipvs.saveToFile(at(name))
      const before = readFileSync(at(name), 'utf8')
      await ipvs.flush()
      await expect(ipvs.saveToFile(at(name))).rejects.toMatchObject({
        code: 'ERR_IPVS_EMPTY',
        path: at(name),
        message: `${at(name)} was not replaced: it has 1 service, and the table to save has none. If that is intended, give \`allowEmpty\`.`,
      })
      await expect(ipvs.saveToFile(at(name), { scope: { fwmarks: [1] } })).rejects.toMatchObject({
        code: 'ERR_IPVS_EMPTY',
      })
      expect(readFileSync(at(name), 'utf8')).toBe(before)
      expect(readdirSync(folder)).toEqual([name])
      await ipvs.saveToFile(at(name), { allowEmpty: true })
      expect(readFileSync(at(`${name}~`), 'utf8')).toBe(before)
      // An empty one is replaced by an empty one.
      await ipvs.saveToFile(at(name), { timeouts: false })
    },
  )

  test('replaces a file that is in another format than its name says, only if allowed', async () => {
    writeFileSync(at('a.json'), '-A -f 5 -s rr\n-A -f 6 -s rr')
    await ipvs.flush()
    await expect(ipvs.saveToFile(at('a.json'))).rejects.toThrow('it has 2 services')
  })

  test.each(['no state', '{"services": [', '-A -t localhost:http -s rr\n', '{"services": [], "later": 1}'])(
    'does not replace a file with %j, which may have services, unless allowed',
    async (text) => {
      writeFileSync(at('a.rules'), text)
      await ipvs.flush()
      await expect(ipvs.saveToFile(at('a.rules'))).rejects.toMatchObject({
        code: 'ERR_IPVS_EMPTY',
        message: `${at('a.rules')} was not replaced: it cannot be read as a state, so it may have services, and the table to save has none. If that is intended, give \`allowEmpty\`.`,
      })
      expect(readFileSync(at('a.rules'), 'utf8')).toBe(text)
      await ipvs.saveToFile(at('a.rules'), { allowEmpty: true })
    },
  )

  test.each(['', ' \n', '{"timeouts": {"tcpSeconds": 60}}'])(
    'replaces a file with %j, and keeps that',
    async (text) => {
      writeFileSync(at('a.json'), text)
      await ipvs.flush()
      await ipvs.saveToFile(at('a.json'))
      expect(readFileSync(at('a.json~'), 'utf8')).toBe(text)
    },
  )
})

describe('restoreFromFile', () => {
  /** What changed the table. */
  const writes = (): unknown[] => kernel.log.filter(({ command }) => !String(command).startsWith('get'))

  test('of a file that was cut off anywhere changes nothing, or is the whole file', async () => {
    for (const name of ['a.json', 'a.rules', 'a.yaml']) {
      await ipvs.saveToFile(at(name))
      const whole = readFileSync(at(name), 'utf8')
      kernel.clearLog()
      for (let length = 0; length < whole.length; length++) {
        // A file that ends with a line is whole as far as anyone can tell, but for JSON.
        if (name !== 'a.json' && whole[length - 1] === '\n') continue
        writeFileSync(at('cut' + name), whole.slice(0, length))
        const outcome = await ipvs.restoreFromFile(at('cut' + name)).then(
          () => 'restored',
          (error: unknown) => error,
        )
        if (outcome === 'restored') expect([name, length]).toEqual(['a.json', whole.length - 1])
        else expect((outcome as Error).message, `${name} ${String(length)}`).toContain(at('cut' + name))
      }
      expect(writes()).toEqual([])
    }
  })

  test('takes a last line without an end if told that the file is whole', async () => {
    writeFileSync(at('whole.rules'), '-A -t 192.0.2.77:80')
    await expect(ipvs.restoreFromFile(at('whole.rules'))).rejects.toThrow(
      /line 1, column 20: the last line does not end in a newline, .* or give `whole`$/,
    )
    await expect(readState(at('whole.rules'), { whole: 1 as never })).rejects.toThrow(
      'whole must be true or false',
    )
    const state = await readState(at('whole.rules'), { whole: true })
    expect(state.services).toHaveLength(1)
    await ipvs.restoreFromFile(at('whole.rules'), { whole: true, maxDeletions: Infinity })
    expect(await ipvs.services()).toHaveLength(1)
  })

  test.each<[string, string | Uint8Array, string]>([
    ['passwd.rules', 'root:x:0:0:root:/root:/bin/bash\n', 'line 1'],
    [
      'image.json',
      Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0xff),
      'line 1, column 1: byte 0x89 is not valid in UTF-8',
    ],
    ['package.json', '{ "name": "ipvs" }\n', 'line 1'],
    ['empty.rules', '', 'the text is empty'],
    ['empty.json', '', 'the text is empty;'],
    [
      'comment.rules',
      '# managed by a program\n\n  # that wrote no more\n',
      'the text is empty except for comments;',
    ],
    ['comment.yaml', '# nothing', 'the text is empty except for comments;'],
    ['later.json', '{ "version": 2, "services": [] }', 'version must be 1'],
  ])('refuses a foreign file: %s', async (name, content, message) => {
    writeFileSync(at(name), content)
    kernel.clearLog()
    const error = (await ipvs.restoreFromFile(at(name)).catch((reason: unknown) => reason)) as Error
    expect(error.name).toBe('StateSyntaxError')
    expect(error.message).toContain(`${at(name)}: `)
    expect(error.message).toContain(message)
    expect(writes()).toEqual([])
  })

  test.each(['', '# nothing\n'])(
    'takes %j for an empty table if told that it is lines of ipvsadm',
    async (text) => {
      writeFileSync(at('empty.rules'), text)
      await ipvs.restoreFromFile(at('empty.rules'), { format: 'ipvsadm', force: true })
      expect(await ipvs.services()).toEqual([])
    },
  )

  test.each<[string, object | null, string]>([
    ['nothing', null, 'options must be an object, got null'],
    ['a name misspelt', { formt: 'json' }, "options have no field 'formt': did you mean 'format'?"],
    ['another format', { format: 'bogus' }, "format must be one of 'json', 'yaml', 'ipvsadm', got 'bogus'"],
    ['a service', { lookupService: 5 }, 'lookupService must be a function, got 5'],
    ['a host', { lookupHost: {} }, 'lookupHost must be a function, got an object'],
  ])('refuses options before anything is read or sent: %s', async (_, options, message) => {
    kernel.clearLog()
    const given = options as object
    for (const saved of [STATE, '-A -t 10.0.0.9:80\n', 'no state']) {
      await expect(ipvs.restore(saved as State, given)).rejects.toThrow(message)
    }
    await expect(ipvs.restoreFromFile(at('gone.json'), given)).rejects.toThrow(message)
    await expect(readState(at('gone.json'), given)).rejects.toThrow(message)
    expect(kernel.log).toEqual([])
  })

  test('recognises a file whose name tells nothing, and applies with the options of apply()', async () => {
    writeFileSync(at('table'), '-A -t 10.0.0.9:80 -s rr\n')
    await expect(ipvs.restoreFromFile(at('table'), { maxDeletions: 2 })).rejects.toMatchObject({
      code: 'ERR_IPVS_GUARD',
    })
    await ipvs.restoreFromFile(at('table'), { prune: false })
    expect(await ipvs.services()).toHaveLength(2)
  })

  test('of no file is an error of the file system', async () => {
    await expect(ipvs.restoreFromFile(at('gone.json'))).rejects.toMatchObject({
      code: 'ENOENT',
      path: at('gone.json'),
    })
  })

  test('of a folder is an error of the file system that names it', async () => {
    const error = (await ipvs.restoreFromFile(folder).catch((reason: unknown) => reason)) as Error
    expect(error).toMatchObject({ code: 'EISDIR', syscall: 'read', path: folder })
    expect(error.message).toContain(`read '${folder}'`)
  })

  test.each<[string, () => unknown]>([
    ['that it makes by itself', () => undefined],
    ['of the caller', () => new Error('enough')],
    ['that is no error', () => 'enough'],
  ])('rejects with the reason %s when it is aborted while it reads', async (_, reasonOf) => {
    const lines = Array.from({ length: 20_000 }, (__, mark) => `-A -f ${String(mark + 1)} -s rr\n`)
    writeFileSync(at('big.rules'), `-A -t web:80\n${lines.join('')}`)
    const controller = new AbortController()
    const outcome = readState(at('big.rules'), {
      signal: controller.signal,
      lookupHost: () => {
        controller.abort(reasonOf())
        return '10.0.0.9'
      },
    })
    const error: unknown = await outcome.catch((reason: unknown) => reason)
    expect(error).toBe(controller.signal.reason)
    if (error instanceof Error) expect(error.message).not.toContain(folder)
    // Before it begins too, when it would be the file system's own.
    await expect(readState(at('big.rules'), { signal: controller.signal })).rejects.toBe(error)
  })
})
