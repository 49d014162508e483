#!/bin/bash
# Two nodes of Slurm on this machine, for `make test-slurm`. For a container that is thrown away: installs packages of
# Debian, writes /etc/slurm and /etc/hosts, and starts daemons as root.
set -euo pipefail

apt-get install -y --no-install-recommends slurmctld slurmd slurmdbd slurm-client munge mariadb-server >/dev/null
mkdir -p /etc/slurm /var/log/slurm /var/spool/slurmctld /var/spool/slurmd.n1 /var/spool/slurmd.n2 /run/munge
host=$(hostname -s)
half=$(($(free -m | awk '/^Mem/ {print $2}') / 2 - 500))

cat >/etc/slurm/slurm.conf <<END
ClusterName=pmdtheory
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=/var/spool/slurmctld
SlurmctldPidFile=/run/slurmctld.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdSpoolDir=/var/spool/slurmd.%n
SlurmdPidFile=/run/slurmd.%n.pid
SlurmdLogFile=/var/log/slurm/slurmd.%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
JobAcctGatherType=jobacct_gather/none
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=1 RealMemory=$half State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
END
cat >/etc/slurm/slurmdbd.conf <<END
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
END
chmod 600 /etc/slurm/slurmdbd.conf
grep -q ' n1 n2$' /etc/hosts || echo '127.0.0.1 n1 n2' >>/etc/hosts  # the first task's node is where the others join

pgrep munged >/dev/null || { chown munge: /run/munge; su munge -s /bin/bash -c /usr/sbin/munged; }
if ! pgrep -x mariadbd >/dev/null; then
    (mysqld_safe --skip-networking >/dev/null 2>&1 &)
    for _ in $(seq 30); do mysqladmin ping >/dev/null 2>&1 && break; sleep 1; done
fi
mysql -e "create database if not exists slurm_acct_db; create user if not exists slurm@localhost identified by 'slurm';
    grant all on slurm_acct_db.* to slurm@localhost"
for daemon in slurmd slurmctld slurmdbd; do pkill -x $daemon || true; done
sleep 2
slurmdbd
for _ in $(seq 30); do sacctmgr -n show cluster >/dev/null 2>&1 && break; sleep 1; done
slurmctld -c
slurmd -N n1
slurmd -N n2
for _ in $(seq 30); do [ "$(sinfo -h -t idle -o %D)" = 2 ] && break; sleep 1; done
sinfo
[ "$(sinfo -h -t idle -o %D)" = 2 ] || { echo 'the nodes do not come up; see /var/log/slurm' >&2; exit 1; }
