import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { installCommand } from '../helpers/installed-command.ts'

/** The command as it is installed: bundled, started as a program, in real shells. */

const command = installCommand()
let folder: string
/** With the tables of `folder`: a small one, and one that is longer than what a pipe holds. */
let env: NodeJS.ProcessEnv
let bigEnv: NodeJS.ProcessEnv

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-bundle-'))
  mkdirSync(join(folder, 'bin'))
  const withTable = (file: string, count: number): NodeJS.ProcessEnv => {
    const realServers = Array.from({ length: count }, (_, index) => ({
      address: `10.0.${String(index >> 8)}.${String(index & 255)}`,
      port: 80,
    }))
    const services = [
      { protocol: 'tcp', address: '192.0.2.10', port: 80, realServers },
      { protocol: 'tcp', address: '2001:db8::1', port: 443, realServers: [{ address: '2001:db8::7' }] },
    ]
    writeFileSync(join(folder, file), JSON.stringify({ services }))
    return { ...command.env, IPVS_MEMORY: join(folder, file) }
  }
  env = withTable('table.json', 2)
  bigEnv = withTable('bin/big.json', 2000)
})

afterAll(() => {
  rmSync(folder, { recursive: true })
})

function shell(
  program: string,
  args: readonly string[],
  variables = env,
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(program, args, { env: variables, cwd: folder, encoding: 'utf8' })
}

describe('the bundle', () => {
  test('lists the table of a file', () => {
    const { status, stdout } = shell('ipvs', ['list'], bigEnv)
    expect(status).toBe(0)
    expect(stdout.split('\n')).toHaveLength(2005)
    expect(stdout).toMatch(/\ntcp\/192\.0\.2\.10:80 +10\.0\.7\.207:80 +- +direct +1 +0 +0 +0 +-\n/)
  })

  test.each([
    ['help adm', /^ipvsadm v1\.31 .*\n {2}--add-service {5}-A /s],
    ['adm --help', /^ipvsadm v1\.31 .*\n {2}--add-service {5}-A /s],
  ])('has help without a kernel: %s', (line, expected) => {
    const { status, stdout, stderr } = shell('ipvs', line.split(' '), command.env)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(expected)
  })

  test('says why the addon does not load, each file that was tried', () => {
    const file = join(folder, 'bin/junk.node')
    writeFileSync(file, 'junk')
    const why = `IPVS_ADDON names ${file} (file too short). Name another file, or unset IPVS_ADDON.`
    const variables = { ...command.env, IPVS_ADDON: file }
    const list = shell('ipvs', ['list'], variables)
    expect(list.status).toBe(6)
    expect(list.stderr).toContain(why)
    const adm = shell('ipvs', ['adm', '-Ln'], variables)
    expect(adm.status).toBe(2)
    expect(adm.stderr).toMatch(/^Can't initialize ipvs: the native addon of ipvs could not be loaded \(.*\n$/)
    expect(adm.stderr).toContain(why)
  })

  test('ends quietly when its reader has gone', () => {
    const script = 'ipvs list | head -n 1; echo "${PIPESTATUS[0]}"'
    const { stdout, stderr } = shell('bash', ['-c', script], bigEnv)
    expect(stdout).toMatch(/^SERVICE .*\n141\n$/)
    expect(stderr).toMatch(/^ipvs: in-memory kernel[^\n]*\n$/)
  })

  test('says that its output has no place', () => {
    const { stdout, stderr } = shell('bash', ['-c', 'ipvs info >/dev/full; echo $?'])
    expect(stdout).toBe('7\n')
    expect(stderr).toContain('ipvs: cannot write the output: ENOSPC')
  })

  test('reads a pipe', () => {
    const script = 'ipvs save 2>/dev/null | ipvs diff live - 2>/dev/null; echo $?'
    const { stdout, stderr } = shell('bash', ['-c', script], bigEnv)
    expect({ stdout, stderr }).toEqual({ stdout: '0\n', stderr: '' })
  })

  test('Ctrl-C ends it while it waits for its input', async () => {
    const child = spawn('ipvs', ['apply', '-'], { env, cwd: folder, stdio: ['pipe', 'ignore', 'ignore'] })
    const ended = new Promise((resolve) =>
      child.once('exit', (code, signal) => {
        resolve(code ?? signal)
      }),
    )
    await new Promise((resolve) => child.once('spawn', resolve))
    child.kill('SIGINT')
    expect(await ended).toBe('SIGINT')
  })

  test('tells an error of the in-memory kernel as what it is', () => {
    const { status, stderr } = spawnSync('ipvs', ['list'], {
      env: { ...env, IPVS_MEMORY: folder },
      encoding: 'utf8',
    })
    expect({ status, stderr }).toEqual({ status: 7, stderr: `ipvs: cannot read ${folder}: it is a folder\n` })
  })

  test('needs no package but yaml', () => {
    const files = readdirSync(command.folder)
    const required = files.flatMap((file) => {
      const text = readFileSync(join(command.folder, file), 'utf8')
      return [...text.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name = '']) => name)
    })
    expect(required).toContain('node:fs')
    const others = new Set(required.filter((name) => !isBuiltin(name) && !name.startsWith('./')))
    expect([...others]).toEqual(['yaml'])
  })

  test('loads little of Node before it has anything to do', () => {
    const program = `require('./library.cjs'); console.log(process.moduleLoadList.join('\\n'))`
    const options = { cwd: command.folder, encoding: 'utf8' } as const
    const { stdout } = spawnSync(process.execPath, ['-e', program], options)
    expect(stdout).toMatch(/^NativeModule fs$/m)
    expect(stdout.match(/^NativeModule (crypto|stream|net|child_process|fs\/promises)$/gm)).toBe(null)
  })

  test('loads more of Node only where it is needed', () => {
    const text = readFileSync(join(command.folder, 'ipvs.cjs'), 'utf8')
    // At once: `name=require("node:fs")`. When it is needed: inside a function.
    expect(text).toMatch(/\b\w+=require\("node:fs"\)/)
    expect(
      text.match(/\b\w+=require\("node:(?:crypto|stream|net|child_process|dns|fs\/promises)[^"]*"\)/g),
    ).toBe(null)
  })

  test('loads nothing from the folder that it is in, nor from the home', () => {
    const foreign = mkdtempSync(join(tmpdir(), 'ipvs-foreign-'))
    const loaded = join(foreign, 'loaded')
    const code = `require('node:fs').appendFileSync(${JSON.stringify(loaded)}, __filename + '\\n')`
    for (const name of ['yaml', 'commander', 'jsonc-parser', 'node-addon-api']) {
      for (const modules of ['node_modules', '.node_modules', '.node_libraries']) {
        mkdirSync(join(foreign, modules, name), { recursive: true })
        writeFileSync(join(foreign, modules, name, 'index.js'), code)
      }
    }
    for (const place of ['.', 'build/Release', 'native/build/Release', `prebuilds/linux-${process.arch}`]) {
      mkdirSync(join(foreign, place), { recursive: true })
      writeFileSync(join(foreign, place, 'ipvs.node'), 'not an addon')
    }
    writeFileSync(join(foreign, 'package.json'), '{ "name": "ipvs", "type": "commonjs" }')
    writeFileSync(
      join(foreign, 'table.yaml'),
      'services: [{ protocol: tcp, address: 192.0.2.1, port: 80 }]\n',
    )
    const options = { cwd: foreign, env: { ...command.env, HOME: foreign }, encoding: 'utf8' } as const
    expect(spawnSync('ipvs', ['list', '--memory', 'table.yaml'], options)).toMatchObject({ status: 0 })
    // Of the kernel it tells what there is, or why not: either by its own addon.
    const { stdout, stderr } = spawnSync('ipvs', ['info'], options)
    expect(stdout + stderr).not.toBe('')
    expect(stdout + stderr).not.toContain('addon')
    expect(existsSync(loaded)).toBe(false)
    rmSync(foreign, { recursive: true })
  })

  test('that is killed before a file is replaced leaves the old one, and what is cleaned up later', () => {
    const place = mkdtempSync(join(tmpdir(), 'ipvs-killed-'))
    writeFileSync(join(place, 'a.json'), 'old')
    const preload = join(place, 'kill.cjs')
    writeFileSync(
      preload,
      "require('node:fs').promises.rename = async () => process.kill(process.pid, 'SIGKILL')\n",
    )
    const save = (variables: Readonly<Record<string, string>> = {}): NodeJS.Signals | null =>
      spawnSync('ipvs', ['save', 'a.json'], { cwd: place, env: { ...env, ...variables } }).signal
    expect(save({ NODE_OPTIONS: `--require=${preload}` })).toBe('SIGKILL')
    rmSync(preload)
    expect(readFileSync(join(place, 'a.json'), 'utf8')).toBe('old')
    const left = readdirSync(place).filter((name) => name !== 'a.json')
    // The new file, and the copy of the old one that is kept as a.json~.
    const temporary = expect.stringMatching(/^\.ipvs-[0-9a-f]{8}\.tmp$/) as string
    expect(left).toEqual([temporary, temporary])
    for (const name of left) expect(statSync(join(place, name)).mode & 0o777).toBe(0o600)
    // They may be another's that is still at work.
    expect(save()).toBe(null)
    expect(readdirSync(place).sort()).toEqual([...left, 'a.json', 'a.json~'].sort())
    for (const name of left) utimesSync(join(place, name), 0, 0)
    expect(save()).toBe(null)
    expect(readdirSync(place).sort()).toEqual(['a.json', 'a.json~'])
    expect(readFileSync(join(place, 'a.json'), 'utf8')).toMatch(/^\{/)
    rmSync(place, { recursive: true })
  })

  test('of another user saves where that user may write, even where it may not look', ({ skip }) => {
    const place = mkdtempSync(join(tmpdir(), 'ipvs-user-'))
    try {
      chmodSync(place, 0o755)
      writeFileSync(join(place, 'table.json'), readFileSync(join(folder, 'table.json')), { mode: 0o644 })
      const asUser = (...args: readonly string[]): { status: number | null; stderr: string } =>
        spawnSync('setpriv', ['--reuid=4321', '--regid=4321', '--clear-groups', 'ipvs', ...args], {
          cwd: place,
          env: { ...env, IPVS_MEMORY: join(place, 'table.json') },
          encoding: 'utf8',
        })
      const { status, stderr } = asUser('list')
      if (status !== 0) {
        console.error(`\n*** SKIPPED: a save by another user. It takes root, and setpriv: ${stderr}\n`)
        skip()
      }
      mkdirSync(join(place, 'blind'))
      chownSync(join(place, 'blind'), 4321, 4321)
      chmodSync(join(place, 'blind'), 0o300)
      expect(asUser('save', 'blind/a.json')).toMatchObject({ status: 0 })
      expect(statSync(join(place, 'blind/a.json'))).toMatchObject({ uid: 4321 })
      const refused = asUser('save', 'a.json')
      expect(refused.status).toBe(7)
      expect(refused.stderr).toContain('cannot write a.json: permission denied')
      expect(readdirSync(place).sort()).toEqual(['blind', 'table.json'])
    } finally {
      rmSync(place, { recursive: true })
    }
  })

  test('runs ipvs adm on the same table', () => {
    const { status, stdout, stderr } = shell('ipvs', ['adm', '-Ln', '-t', '[2001:db8::1]:443'])
    expect(status).toBe(0)
    expect(stdout).toContain('TCP  [2001:db8::1]:443 wlc\n  -> [2001:db8::7]:443            Route   1 ')
    expect(stderr).toMatch(/^ipvs: in-memory kernel/)
  })

  test('runs ipvs adm on the table that is chosen before it', () => {
    const adm = (...early: readonly string[]): ReturnType<typeof shell> =>
      shell('ipvs', [...early, 'adm', '-Sn'])
    const { status, stdout } = adm('--memory', 'bin/big.json', `--memory=${join(folder, 'table.json')}`)
    expect(status).toBe(0)
    expect(stdout).toBe(shell('ipvs', ['adm', '-Sn']).stdout)
    expect(adm('--memory', 'bin/big.json').stdout.length).toBeGreaterThan(stdout.length)
    expect(adm('--netns', 'blue')).toMatchObject({
      ...{ status: 2, stdout: '' },
      stderr:
        'ipvs adm: --netns selects a table of the real kernel, and IPVS_MEMORY the in-memory kernel: they cannot be combined\n',
    })
    for (const name of ['netns', 'memory'])
      expect(adm(`--${name}`, '')).toMatchObject({ status: 2, stderr: `ipvs adm: --${name} is empty\n` })
    expect(adm('--json')).toMatchObject({
      ...{ status: 2, stdout: '' },
      stderr: 'ipvs adm: it prints what ipvsadm does, and never JSON: leave out --json\n',
    })
  })
})

describe('ipvs adm', () => {
  const HOSTILE = '\u001B[8m\u009B35m\u202E\u007F'
  const FORBIDDEN = /(?![\n\t])[\p{Cc}\p{Cs}\u2028\u2029\u202A-\u202E\u2066-\u2069]/u

  test.each([
    ['an argument', ['-A', '-t', '192.0.2.1:80', HOSTILE]],
    ['an option', ['-A', `--${HOSTILE}`]],
    ['a host', ['-A', '-t', `${HOSTILE}:80`]],
    ['a scheduler flag', ['-A', '-t', '192.0.2.1:80', '-b', HOSTILE]],
    ['an interface', ['--start-daemon', 'master', '--mcast-interface', 'eth0', '--mcast-group', HOSTILE]],
    ['a line of -R', ['-R'], `-A -t 192.0.2.1:80 -s ${HOSTILE}\n-a ${HOSTILE}\n`],
    ['a table', ['-L', '-n'], '', join(tmpdir(), `no\u001B[8m\n/table`)],
  ])('prints %s without its control characters', (_, args, input = '', table = env.IPVS_MEMORY) => {
    const { stdout, stderr } = spawnSync('ipvs', ['adm', ...args], {
      env: { ...env, IPVS_MEMORY: table },
      encoding: 'utf8',
      input,
    })
    expect(stdout + stderr).not.toBe('')
    expect(FORBIDDEN.exec(stdout + stderr)).toBe(null)
  })

  test.each([['FORGED'], ['-A', '-t', '192.0.2.1:80', '-b', 'FORGED'], ['-A', '--FORGED']])(
    'lets no argument be a line of its own: %s %s',
    (...words) => {
      const args = words.map((word) => word.replace('FORGED', 'x\nFORGED'))
      expect(shell('ipvs', ['adm', ...args]).stderr).not.toMatch(/^FORGED/m)
    },
  )

  test('escapes what it names', () => {
    const { stderr } = shell('ipvs', ['adm', '-A', '-t', '192.0.2.1:80', HOSTILE])
    expect(stderr).toContain(String.raw`unexpected argument \u001b[8m\u009b35m\u202e\u007f`)
  })
})

test('ipvs guest prints an argument without its control characters', () => {
  // The command hands its arguments to this program.
  const { status, stderr } = shell(process.execPath, [
    fileURLToPath(new URL('../../guest/guest.mjs', import.meta.url)),
    '--\u001B]0;x\u0007\u202E',
  ])
  expect(status).not.toBe(0)
  expect(stderr).toMatch(/^guest: there is no option --\\u001b\]0;x\\u0007\\u202e\n/)
})

/** What a shell completes lines to, by the script that it gets: a NUL behind each. */
const BASH = `
eval "$(ipvs completion bash)"
for line; do
  COMP_LINE=$line COMP_POINT=\${#line} COMP_TYPE=9 COMP_KEY=9 COMPREPLY=()
  read -ra COMP_WORDS <<<"$line"
  COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
  _ipvs
  printf '%s\\n' "\${COMPREPLY[@]}"
  printf '\\0'
done
`

describe('completion in bash', () => {
  const CASES: readonly [string, string, readonly string[]][] = [
    ['a command', 'ipvs dr', ['drain']],
    ['an option', 'ipvs list --st', ['--stats']],
    ['a choice', 'ipvs save --format y', ['yaml']],
    // bash replaces what follows the last colon, or =, alone.
    ['a choice behind =', 'ipvs save --format=y', ['yaml']],
    ['a service', 'ipvs show tcp/1', ['tcp/192.0.2.10:80']],
    ['a service behind its colon', 'ipvs show tcp/192.0.2.10:', ['80']],
    ['an IPv6 service within', 'ipvs show tcp/[2001:db8:', [':1]:443']],
    ['an IPv6 service, quoted', 'ipvs show tcp/\\[2001:db8:', [':1]:443']],
    ['a server', 'ipvs drain tcp/[2001:db8::1]:443 ', ['[2001:db8::7]:443']],
    ['a field', 'ipvs set tcp/192.0.2.10:80 schedulerF', ['schedulerFlags=']],
    ['a value', 'ipvs set tcp/192.0.2.10:80 scheduler=wr', ['wrr']],
    ['a second server', 'ipvs weight tcp/192.0.2.10:80 10.0.0.0:80 10', ['10.0.0.1:80']],
    ['a file', 'ipvs plan tab', ['table.json']],
    ['a file behind an option', 'ipvs list --memory ./tab', ['./table.json']],
    ['a file or the table', 'ipvs diff ', ['bin', 'live', 'table.json']],
  ]
  let completed: readonly string[][]
  beforeAll(() => {
    const lines = CASES.map(([, line]) => line)
    const { stdout, stderr } = shell('bash', ['--norc', '-c', BASH, 'bash', ...lines])
    expect(stderr.replaceAll(/bash: .*compopt.*\n/g, '')).toBe('')
    completed = stdout.split('\0').map((found) => found.trimEnd().split('\n').sort())
  })

  test.each(CASES.map(([what, line, expected], index) => ({ what, line, expected, index })))(
    'completes $what',
    ({ index, expected }) => {
      expect(completed[index]).toEqual(expected)
    },
  )
})

/** A shell that this machine may lack. */
function shellTests(program: string, body: () => void): void {
  const there = spawnSync(program, ['--version']).error === undefined
  if (!there) console.warn(`SKIPPED: completion in ${program}: there is no ${program} on this machine`)
  describe.skipIf(!there)(`completion in ${program}`, body)
}

shellTests('fish', () => {
  test.each([
    ['a command', 'ipvs dr', ['drain']],
    ['a service', 'ipvs show tcp/1', ['tcp/192.0.2.10:80']],
    ['a field', 'ipvs set tcp/192.0.2.10:80 schedulerF', ['schedulerFlags=']],
    ['a file', 'ipvs plan tab', ['table.json']],
  ])('completes %s', (_, line, expected) => {
    const script = `ipvs completion fish | source; complete -C ${JSON.stringify(line)}`
    const { stdout } = shell('fish', ['--no-config', '-c', script])
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((one) => one.split('\t')[0]),
    ).toEqual(expected)
  })
})

shellTests('zsh', () => {
  test('gets a script that it can read', () => {
    const { status, stderr } = shell('zsh', ['-fc', 'ipvs completion zsh >_ipvs && zsh -n _ipvs'])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })
})
