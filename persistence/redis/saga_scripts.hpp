// The scripts about sagas. Each comes behind the prelude `fence` of scripts.cpp: KEYS 1 is the owner record, ARGV 1 the
// token, `list` steps over a counted list.
#pragma once
#include <string_view>

namespace catga::saga_script {

// Invariant: a saga exists once; the same start again finds it.
// KEYS 1 owner, 2 header, 3 journal, 4 active, 5 timers
// ARGV 1 token, 2 id, 3 now, 4 input hash, 5 deadline or '', 6 input entry; then more header fields
// returns {'OK'}, {'EXISTS', status} or {'CONFLICT', status}
constexpr std::string_view create = R"lua(
local h=call('HMGET',KEYS[2],'ih','st')
if h[2] then return {h[1]==ARGV[4] and 'EXISTS' or 'CONFLICT',h[2]} end
call('HSET',KEYS[2],'st','running','ih',ARGV[4],'ra',0,unpack(ARGV,7))
call('UNLINK',KEYS[3])
call('RPUSH',KEYS[3],ARGV[6])
call('ZADD',KEYS[4],ARGV[3],ARGV[2])
if ARGV[5]~='' then call('ZADD',KEYS[5],ARGV[5],'s|'..ARGV[2]..'|deadline') end
return {'OK'}
)lua";

// KEYS 1 owner, 2 header, 3 journal    ARGV 1 token, 2 '1' after a crash (counts it), 3 '1' with the journal
// returns {'OK', header, journal or {}, length} or {'NONE'}
constexpr std::string_view load = R"lua(
if call('EXISTS',KEYS[2])==0 then return {'NONE'} end
if ARGV[2]=='1' then call('HINCRBY',KEYS[2],'ra',1) end
local journal=ARGV[3]=='1' and call('LRANGE',KEYS[3],0,-1) or {}
return {'OK',call('HGETALL',KEYS[2]),journal,call('LLEN',KEYS[3])}
)lua";

// Invariant: entries come to a journal of the length their writer knew, none after the end. The new length and the last
// entry name the commit, so that it may be sent any number of times.
// KEYS 1 owner, 2 header, 3 journal, 4 active, 5 parked, 6 ended, 7 timers, 8 outbox
// ARGV 1 token; four counted lists: header fields (name, value)  entries  timers (name, due or '' to cancel)  outbox;
//      then id, expected length ('' = any), active, parked or ended, now, journal ttl, header ttl
// returns {'OK', length, stream id …}, {'ALREADY', length}, {'CONFLICT', length}, {'ENDED', status} or {'NONE'}
constexpr std::string_view commit = R"lua(
local f,fz=list(2)
local e,ez=list(1)
local t,tz=list(2)
local b,bz=list(1)
local id,expected,where,now,journalttl,headerttl=unpack(ARGV,p,p+5)
local status,length=call('HGET',KEYS[2],'st'),call('LLEN',KEYS[3])
if not status then return {'NONE'} end
if expected~='' and length~=tonumber(expected) then
  local same=length==expected+ez-e+1 and call('LINDEX',KEYS[3],-1)==ARGV[ez]
  return {same and 'ALREADY' or 'CONFLICT',length}
end
if status=='completed' or status=='compensated' or status=='aborted' then return {'ENDED',status} end
local reply={'OK',call('RPUSH',KEYS[3],unpack(ARGV,e,ez))}
call('HSET',KEYS[2],'u',now,unpack(ARGV,f,fz))
for i=t,tz,2 do
  if ARGV[i+1]=='' then call('ZREM',KEYS[7],ARGV[i]) else call('ZADD',KEYS[7],ARGV[i+1],ARGV[i]) end
end
if where=='ended' then
  call('ZREM',KEYS[4],id)
  call('ZREM',KEYS[5],id)
  call('ZREM',KEYS[7],'s|'..id..'|deadline')
  call('ZADD',KEYS[6],now,id)
  call('PEXPIRE',KEYS[3],journalttl)
  call('PEXPIRE',KEYS[2],headerttl)
  local old=call('ZRANGEBYSCORE',KEYS[6],'-inf',now-journalttl,'LIMIT',0,16)
  if #old>0 then call('ZREM',KEYS[6],unpack(old)) end
else
  call('ZADD',KEYS[4],now,id)
  if where=='parked' then call('ZADD',KEYS[5],'NX',now,id) else call('ZREM',KEYS[5],id) end
end
for i=b,bz do reply[#reply+1]=call('XADD',KEYS[8],'*','b',ARGV[i]) end
return reply
)lua";

// One write command. KEYS 1 owner, 2 key    ARGV 1 token, 2 command, then its arguments    returns {'OK', its answer}
constexpr std::string_view fenced = R"lua(
return {'OK',call(ARGV[2],KEYS[2],unpack(ARGV,3))}
)lua";

// Writes nothing. Members of the last score of a page come whole, so that a score says where to go on.
// KEYS 1 owner, 2 list    ARGV 1 token, 2 first score ('-inf', or '(' and the last one seen), 3 most, 4 '<type>/' or ''
// returns {'OK', {member, score, …}, last score, '' if there are no more}
constexpr std::string_view read_list = R"lua(
local found,last=call('ZRANGEBYSCORE',KEYS[2],ARGV[2],'+inf','WITHSCORES','LIMIT',0,ARGV[3]),''
if #found==2*tonumber(ARGV[3]) then
  last=found[#found]
  while found[#found]==last do found[#found]=nil found[#found]=nil end
  for _,x in ipairs(call('ZRANGEBYSCORE',KEYS[2],last,last,'WITHSCORES')) do found[#found+1]=x end
end
local rows,n={},#ARGV[4]
for i=1,#found,2 do
  if string.sub(found[i],1,n)==ARGV[4] then rows[#rows+1]=found[i] rows[#rows+1]=found[i+1] end
end
return {'OK',rows,last}
)lua";

// Writes nothing. KEYS 1 owner, then headers    ARGV 1 token, then names of fields
// returns {'OK', {value or nil, …}, …}
constexpr std::string_view read_headers = R"lua(
local reply={'OK'}
for i=2,#KEYS do reply[i]=call('HMGET',KEYS[i],unpack(ARGV,2)) end
return reply
)lua";

// Writes nothing. KEYS 1 owner, 2 active, 3 parked, 4 ended, 5 sources
// returns {'OK', active, parked, ended, {saga shard, epoch, …}}
constexpr std::string_view overview = R"lua(
return {'OK',call('ZCARD',KEYS[2]),call('ZCARD',KEYS[3]),call('ZCARD',KEYS[4]),call('HGETALL',KEYS[5])}
)lua";

}  // namespace catga::saga_script
