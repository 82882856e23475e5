import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Finding } from '../../lib/index.ts'
import { onMachine, SILENT } from '../helpers/fake-machine.ts'
import { ipvs } from './terminal.ts'

const folder = mkdtempSync(join(tmpdir(), 'ipvs-doctor-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const OF_A_SERVER = 'doctor --role real-server --service tcp/192.0.2.10:80'
/** It answers ARP for the virtual address. */
const LOUD = { ...SILENT, 'net.ipv4.conf.all.arp_ignore': '0' }

describe('ipvs doctor', () => {
  test('says that there is nothing', async () => {
    onMachine()
    expect(await ipvs(OF_A_SERVER)).toEqual({ status: 0, stdout: 'no findings\n', stderr: '' })
  })

  test('says what it found, and what mends it, in colours', async () => {
    onMachine({ sysctls: LOUD })
    const { status, stdout, stderr } = await ipvs(OF_A_SERVER, { columns: 200 })
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      '\u001b[31merror\u001b[39m: address-announced',
      '  eth0 answers ARP for virtual address 192.0.2.10, or announces it: arp_ignore is too low',
      '  Clients reach this real server without the director: it gets all connections, or they break when others answer too.',
      '  mend it: \u001b[1msysctl -w net.ipv4.conf.all.arp_ignore=1\u001b[22m',
      expect.stringMatching(/^ {2}With method direct .* \(docs\/.*\)$/),
      '',
      'found: 1 error',
      '',
    ])
  })

  test('gives findings to programs', async () => {
    onMachine({ sysctls: LOUD })
    const { status, stdout, stderr } = await ipvs(`${OF_A_SERVER} --json`)
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject([
      { code: 'address-announced', severity: 'error', sysctls: { 'net.ipv4.conf.all.arp_ignore': '1' } },
    ] satisfies Partial<Finding>[])
  })

  test('ends with 0 if there is only a note', async () => {
    onMachine({ programs: { nft: 'exit 0', grep: 'exit 1' }, ip: [[], [], []] })
    const { status, stdout } = await ipvs(`${OF_A_SERVER} --method masquerade`)
    expect({ status, last: stdout.split('\n').at(-2) }).toEqual({ status: 0, last: 'found: 1 note' })
  })

  test('escapes what would change the terminal', async () => {
    const name = 'e\u001b[31m'
    onMachine({
      sysctls: LOUD,
      ip: [[{ ifname: name, flags: ['UP'], addr_info: [{ local: '192.0.2.10', prefixlen: 24 }] }], [], []],
    })
    const { stdout } = await ipvs(OF_A_SERVER)
    expect(stdout).toContain("mend it: ip address delete 192.0.2.10/24 dev 'e\\u001b[31m'")
    expect(stdout).not.toContain('\u001b')
  })

  test('looks at several services, and through a tunnel', async () => {
    onMachine()
    const line = `${OF_A_SERVER} --service tcp/192.0.2.12:443 --method tunnel --tunnel gue:6080 --director 192.0.2.1 --json`
    const { stdout } = await ipvs(line)
    const found = JSON.parse(stdout) as Finding[]
    expect(found.map(({ code, services }) => `${code} ${String(services.length)}`)).toEqual([
      'tunnel-missing 2',
      'tunnel-missing 2',
    ])
  })

  test.each([
    ['doctor --role real-server', 'a real server has no table'],
    [`${OF_A_SERVER} --peer x.json`, '--peer is for a director'],
    [`${OF_A_SERVER} x.json`, 'a file is for a director'],
    ['doctor --method direct', '--method is for a real server'],
    [`${OF_A_SERVER} --tunnel gre`, '--tunnel goes with --method tunnel'],
    [`${OF_A_SERVER} --service web`, "'web'"],
    ['doctor --memory x.json', '--memory'],
  ])('refuses %s', async (line, why) => {
    const { status, stderr } = await ipvs(line)
    expect(status).toBe(2)
    expect(stderr).toContain(why)
  })
})

describe('ipvs doctor --fix', () => {
  const file = join(folder, 'set')
  /** Notes what is set, after which the machine is as it should be. */
  const setting = (sysctls: Readonly<Record<string, string>> = LOUD): void => {
    rmSync(file, { force: true })
    onMachine({
      sysctls,
      programs: {
        env: `shift $(($# - 2)); echo "$1 $2" >>'${file}'; sed -i 's/ignore:0/ignore:1/' "$(dirname "$0")/files.txt"; echo "$1"`,
      },
    })
  }
  const isSet = (): string => readFileSync(file, 'utf8')

  test('sets sysctls after asking, and says how to keep them', async () => {
    setting()
    const { status, stderr } = await ipvs(`${OF_A_SERVER} --fix`, { stdin: 'y\n', columns: 100 })
    expect(status).toBe(0)
    expect(stderr).toContain('This sets net.ipv4.conf.all.arp_ignore=1.\nGo on? [y/N] ')
    expect(stderr).toContain('/etc/sysctl.d/50-ipvs.conf:\n  net.ipv4.conf.all.arp_ignore = 1\n')
    expect(isSet()).toBe('1 /proc/sys/net/ipv4/conf/all/arp_ignore\n')
  })

  test.each([
    ['no', { stdin: 'no\n', columns: 100 }],
    ['nothing', { stdin: '', columns: 100 }],
    ['a pipe', { stdin: 'y\n' }],
  ] as const)('sets nothing if the answer is %s', async (_, around) => {
    setting()
    const { status, stderr } = await ipvs(`${OF_A_SERVER} --fix`, around)
    expect(status).toBe(3)
    expect(stderr).toContain('nothing was changed')
    expect(isSet).toThrow('ENOENT')
  })

  test('asks nobody with --yes, and says what is left', async () => {
    setting({ ...LOUD, 'net.ipv4.conf.all.arp_announce': '0' })
    const { status, stderr } = await ipvs(`${OF_A_SERVER} --fix --yes`)
    // The machine of this test keeps the other value.
    expect(status).toBe(1)
    expect(stderr).toContain('still 1 error')
    expect(isSet().split('\n')).toEqual([
      '1 /proc/sys/net/ipv4/conf/all/arp_ignore',
      '2 /proc/sys/net/ipv4/conf/all/arp_announce',
      '',
    ])
  })

  test('has nothing to set', async () => {
    setting(SILENT)
    const { status, stderr } = await ipvs(`${OF_A_SERVER} --fix --yes`)
    expect({ status, stderr }).toEqual({ status: 0, stderr: 'ipvs: no sysctl is to be set\n' })
    expect(isSet).toThrow('ENOENT')
  })

  test('says if the kernel keeps another value', async () => {
    writeFileSync(file, '')
    onMachine({ sysctls: LOUD, programs: { env: 'echo 0' } })
    const { status, stderr } = await ipvs(`${OF_A_SERVER} --fix --yes`)
    expect({ status, stderr }).toEqual({
      status: 7,
      stderr: 'ipvs: cannot set net.ipv4.conf.all.arp_ignore=1: it is 0 now\n',
    })
  })
})
