import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { onMachine } from '../helpers/fake-machine.ts'
import { usualKernel } from '../messages/room.ts'
import { ipvs } from './terminal.ts'

/** What the command does with its script; test/traffic/setup.test.ts runs the script. */

const APPLY = 'setup real-server --service tcp/192.0.2.10:80 --apply'

/** A shell that says how it is called, and what it would do. */
const SH = 'cat >/dev/null; echo "$3" >>"$(dirname "$0")/called"; echo "ip link set tunl0 up"'

function calledIn(folder: string): string[] {
  const file = join(folder, 'called')
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
}

describe('ipvs setup', () => {
  beforeEach(() => {
    const spy = vi.spyOn(process, 'geteuid').mockReturnValue(0)
    return () => {
      spy.mockRestore()
    }
  })

  test('shows what it would do, and does it after a yes', async () => {
    const folder = onMachine({ programs: { sh: SH } })
    const said = await ipvs(APPLY, { columns: 80, stdin: 'yes\n' })
    expect(said).toMatchObject({ status: 0, stdout: 'ip link set tunl0 up\n' })
    expect(calledIn(folder)).toEqual(['plan', 'run'])
  })

  test('changes nothing after a no', async () => {
    const folder = onMachine({ programs: { sh: SH } })
    expect((await ipvs('setup director --undo', { columns: 80, stdin: 'no\n' })).status).toBe(3)
    expect(calledIn(folder)).toEqual(['plan-undo'])
  })

  test('asks nothing where there is nothing to do', async () => {
    onMachine({ programs: { sh: 'cat >/dev/null' } })
    expect(await ipvs(APPLY)).toEqual({ status: 0, stdout: 'nothing to do\n', stderr: '' })
  })

  test('gives a program the commands that it has run', async () => {
    const folder = onMachine({ programs: { sh: SH } })
    const { status, stdout } = await ipvs('setup director --undo --yes --json')
    expect([status, JSON.parse(stdout)]).toEqual([0, { commands: ['ip link set tunl0 up'] }])
    expect(calledIn(folder)).toEqual(['undo'])
  })

  test.each([
    ['blue', '--net=/run/netns/blue'],
    ['/proc/7/ns/net', '--net=/proc/7/ns/net'],
  ])('runs it in network namespace %s', async (name, option) => {
    onMachine({ programs: { nsenter: 'cat >/dev/null; echo "$*"' } })
    const { stdout } = await ipvs(`${APPLY} --yes --netns ${name}`)
    expect(stdout).toBe(`${option} -- sh -s -- run\n`)
  })

  test('passes a signal on, and waits for what is taken back', async () => {
    const waits = 'trap "echo undone; exit 143" TERM; cat >/dev/null; echo started; while :; do :; done'
    onMachine({ programs: { sh: waits } })
    let send: (() => void) | undefined
    const { status, stdout } = await ipvs(`${APPLY} --yes`, {
      onStart: (signal) => {
        send = () => {
          signal('SIGTERM')
        }
      },
      onStdout: (text) => {
        if (text === 'started\n') send?.()
      },
    })
    expect({ status, stdout }).toEqual({ status: 143, stdout: 'started\nundone\n' })
  })

  test('prints the script of all services of the table, or of one', async () => {
    const kernel = await usualKernel()
    const all = await ipvs('setup director --interface eth0', { kernel })
    expect(all.status).toBe(0)
    expect(all.stdout).toContain('# What this machine needs as a director of tcp/192.0.2.10:80.\n')
    expect(all.stdout).toContain('\nsetting net.ipv4.ip_forward 1 net.ipv4.conf.all.accept_redirects\n')
    const one = await ipvs('setup director --interface eth0 --service tcp/192.0.2.10:80', { kernel })
    expect(one).toEqual(all)
  })

  test('finds the interface of a director, and of a real server beside clients', async () => {
    onMachine({ programs: { ip: `echo '[{"type":"local","dev":"lo","ifname":"eth7"}]'` } })
    const { stdout } = await ipvs('setup director --service tcp/192.0.2.10:80 --method direct --json')
    expect(stdout).toContain('"ip address add 192.0.2.10/32 dev eth7"')
    const server = 'setup real-server --service tcp/192.0.2.10:80 --method masquerade --json'
    const beside = await ipvs(`${server} --director 192.0.2.1 --clients 192.0.2.0/24`)
    expect(beside.stdout).toContain('"ip route replace 192.0.2.0/24 via 192.0.2.1 dev eth7"')
  })

  test.each([
    [{ nft: 'exit 0', iptables: 'exit 0' }, 'nft add table ip ipvs-setup'],
    [{ nft: 'exit 127', iptables: 'exit 0' }, 'iptables -t mangle -A PREROUTING'],
    [{ nft: 'exit 127', iptables: 'exit 127' }, 'nft add table ip ipvs-setup'],
  ])('makes rules by a program that is there: %j', async (programs, rule) => {
    onMachine({ programs })
    const { stdout } = await ipvs(
      'setup director --service fwmark/7 --method direct --address 192.0.2.10 --interface eth0 --json',
    )
    expect(stdout).toContain(rule)
  })
})
