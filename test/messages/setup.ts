import { vi } from 'vitest'
import { ipvs } from '../cli/terminal.ts'
import { type FakeMachine, leaveMachine, onMachine } from '../helpers/fake-machine.ts'
import { command } from './command.ts'
import { type Case, type Room, usualKernel } from './room.ts'

/** Why a machine is set up as it is, and the commands: what the script says to a reader. */
function parts(line: string): Case {
  return {
    input: `ipvs ${line}`,
    async message() {
      const { status, stdout, stderr } = await ipvs(`${line} --json`, { kernel: await usualKernel() })
      if (status !== 0) return stderr
      const { parts } = JSON.parse(stdout) as { parts: { why: string; commands: readonly string[] }[] }
      return parts.map(({ why, commands }) => [why, ...commands].join('\n')).join('\n\n')
    },
  }
}

/** As a user, on a machine whose programs do as they are told. */
function as(user: number, machine: FakeMachine, { input, message }: Case, note: string): Case {
  return {
    input: `${input}  # ${note}`,
    async message() {
      onMachine(machine)
      const spy = vi.spyOn(process, 'geteuid').mockReturnValue(user)
      try {
        return await message()
      } finally {
        spy.mockRestore()
        leaveMachine()
      }
    },
  }
}

const SERVICE = '--service tcp/192.0.2.10:80'
const REAL_SERVER = `setup real-server ${SERVICE}`
const APPLY = `${REAL_SERVER} --apply`
const PLANNED = 'echo "ip address add 192.0.2.10/32 dev lo"'

export const setupRooms: readonly Room[] = [
  {
    title: 'What a role needs',
    about: 'The comments and commands in the scripts of `ipvs setup`.',
    cases: [
      parts('setup director --interface eth0 --snat --clients 192.0.2.0/24 --firewall nft'),
      parts(
        'setup director --service tcp/[2001:db8::10]:21 --method masquerade --interface eth0 --firewall iptables',
      ),
      parts(
        'setup director --service fwmark/7 --method tunnel --address 192.0.2.10 --interface eth0 --firewall nft',
      ),
      parts('setup director --service fwmark/7 --method direct'),
      parts(
        `${REAL_SERVER} --method masquerade --director 192.0.2.1 --clients 192.0.2.0/24 --interface eth0`,
      ),
      parts(REAL_SERVER),
      parts(`${REAL_SERVER} --service tcp/[2001:db8::10]:80 --method tunnel --tunnel gue:6080`),
      command(REAL_SERVER),
    ],
  },
  {
    title: 'Setting up a machine',
    about: 'What `ipvs setup --apply` and `--undo` say.',
    cases: [
      as(1000, {}, command(APPLY), 'by another user than root'),
      as(0, { programs: { sh: PLANNED } }, command(APPLY), 'in a pipe'),
      as(0, { programs: { sh: PLANNED } }, command(APPLY, { stdin: 'no\n', columns: 100 }), 'answered: no'),
      as(0, { programs: { sh: PLANNED } }, command(`${APPLY} --yes`), 'done'),
      as(0, { programs: { sh: 'exit 0' } }, command(`${APPLY} --yes`), 'all of it is done already'),
      as(0, { programs: { sh: 'exit 0' } }, command('setup real-server --undo --yes'), 'nothing was done'),
      as(
        0,
        { programs: { sh: 'echo "RTNETLINK answers: Operation not permitted" >&2; exit 2' } },
        command(`${APPLY} --yes`),
        'in a container',
      ),
      as(
        0,
        { programs: { sh: 'echo "mkdir: cannot create directory" >&2; exit 1' } },
        command(APPLY, { columns: 100 }),
        'a script that fails at once',
      ),
      as(0, { programs: { ip: 'exit 2' } }, command('setup director'), 'there is no route'),
      as(
        0,
        { programs: { ip: `echo '[{"type":"local","dev":"lo","ifname":"lo"}]'` } },
        command('setup director'),
        'the virtual address is on lo',
      ),
    ],
  },
  {
    title: 'Misuse of setup',
    about: 'Options that lack another, or contradict one another.',
    cases: [
      command('setup'),
      command('setup router'),
      command('setup director', { kernel: (kernel) => ipvs('flush --yes', { kernel }) }),
      command('setup director --service tcp/192.0.2.10:443 --interface eth0'),
      command('setup director --method direct --interface eth0'),
      command('setup director web.json --method direct', { files: { 'web.json': '{"services": []}\n' } }),
      command(`setup director ${SERVICE} --tunnel gre`),
      command('setup director --interface eth0;reboot'),
      command('setup director --interface eth0 --ports 80'),
      command('setup director --interface eth0 --address 192.0.2.10'),
      command(`setup director ${SERVICE} --method direct --interface eth0 --snat`),
      command(`setup director ${SERVICE} --method direct --interface eth0 --clients 192.0.2.0/24`),
      command('setup director --service fwmark/7 --method direct --interface eth0 --address ::1'),
      command(
        'setup director --service fwmark/7 --method direct --interface eth0 --address 192.0.2.10 --ports 0',
      ),
      command('setup director --service fwmark/7 --method masquerade --clients 192.0.2.0/24'),
      command('setup director --apply --print'),
      command('setup director --yes'),
      command('setup director --undo --snat'),
      command('setup director web.json --undo', { files: { 'web.json': '{"services": []}\n' } }),
      command('setup director --apply --memory table.json'),
      command('setup real-server'),
      command(`${REAL_SERVER} web.json`, { files: { 'web.json': '{"services": []}\n' } }),
      command(`${REAL_SERVER} --snat`),
      command(`${REAL_SERVER} --tunnel gre`),
      command(`${REAL_SERVER} --method tunnel --tunnel gre/csum`),
      command(`${REAL_SERVER} --method masquerade`),
      command(`${REAL_SERVER} --method masquerade --director fd00::1`),
      command(`${REAL_SERVER} --method masquerade --director 10.0.0.1 --interface eth0`),
      command(`${REAL_SERVER} --method masquerade --director 10.0.0.1 --interface eth0 --clients 10.0.0.0`),
      command(
        `${REAL_SERVER} --method masquerade --director 10.0.0.1 --interface eth0 --clients 10.0.0.0/33`,
      ),
      command(`${REAL_SERVER} --method masquerade --director 10.0.0.1 --interface eth0 --clients fd00::/8`),
      command(`${REAL_SERVER} --clients 10.0.0.0/8`),
      command(`${REAL_SERVER} --address 192.0.2.10`),
      command('setup real-server --service fwmark/7'),
    ],
  },
]
