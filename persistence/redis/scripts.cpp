// Texts of the scripts. Lua here is kept as short as it can be read: Redis does nothing else while
// one runs.
#include "catga/persistence/redis/scripts.hpp"

#include "catga/persistence/redis/saga_scripts.hpp"

#include <cassert>

namespace catga {
namespace {

constexpr std::string_view any_memory = "#!lua flags=allow-oom\n";
constexpr std::string_view needs_memory = "#!lua\n";

// Milliseconds of Redis time, and numbers printed without an exponent: Lua's own conversion would
// make 1.8e+15 of an epoch.
constexpr std::string_view time_prelude = R"lua(
local call=redis.call
local function now() local t=call('TIME') return t[1]*1000+math.floor(t[2]/1000) end
local function str(x) return string.format('%.0f',x) end
)lua";

// The member table. KEYS 1 {c}:m  2 {c}:v  3 {c}:log  4 {c}:gone
// Invariant: each change of a row is one higher version; who was dropped stands in {c}:gone and
// never returns.
constexpr std::string_view view_prelude = R"lua(
local function bump(what)                        -- a change: the next version, and a line for people
  local v=str(math.max(tonumber(call('GET',KEYS[2]) or '0')+1,now()*1024))
  call('SET',KEYS[2],v)
  call('LPUSH',KEYS[3],v..' '..what)
  call('LTRIM',KEYS[3],0,1023)
  return v
end
local function find(name,state)                  -- a member with this name (and in this state), or nil
  local all=call('HGETALL',KEYS[1])
  for i=1,#all,2 do
    local st,nm,rest=string.match(all[i+1],'^(%S+) (%S+)(.*)$')
    if nm==name and (st==state or not state) then return all[i],rest end
  end
end
local function promote(name)                     -- the shadow of a leaving name takes the name over
  if find(name,'UP') then return '' end          -- somebody has: an older life of the name ends
  local inc,rest=find(name,'SHADOW')
  if inc then call('HSET',KEYS[1],inc,'UP '..name..rest) end
  return inc and ' then UP '..inc or ''
end
local function drop(inc,session,why)             -- a member ends, for ever
  local row=call('HGET',KEYS[1],inc)
  call('DEL',session)
  if not row then return false end
  local name=string.match(row,'^%S+ (%S+)')
  call('HDEL',KEYS[1],inc)
  call('ZADD',KEYS[4],now(),inc..' '..name..' '..why)
  return bump(why..' '..inc..' '..name..promote(name))
end
)lua";

// Invariant: the record changes only from the token the caller expects; the same nonce again
// changes nothing.
// KEYS 1 {c:s}:o  2 outbox  3 timers  4 active sagas  5 sources
// ARGV 1 expected token ('' = free)  2 new owner ('' = release)  3 nonce  4 rv
//      5 first outbox id to keep, or ''
// returns {1 or 0, token, owner, epoch, rv, previous owner, entries in what a new owner reads} as now
constexpr std::string_view own = R"lua(
local function rest()
  return call('XLEN',KEYS[2])+call('ZCARD',KEYS[3])+call('ZCARD',KEYS[4])+call('HLEN',KEYS[5])
end
local r=call('HMGET',KEYS[1],'tok','n','e','rv','pn','nonce')
local tok,n,e,pn,t=r[1] or '',r[2] or '',r[3] or '0',r[5] or '',now()
if tok~=ARGV[1] then
  return {r[6]==ARGV[3] and n==ARGV[2] and 1 or 0,tok,n,e,r[4] or '0',pn,rest()}
end
local new=str(math.max(tonumber(e)+1,t*1024))
local ntok=ARGV[2]=='' and '' or new..'.'..ARGV[2]
if n~='' and n~=ARGV[2] then pn=n end
call('HSET',KEYS[1],'tok',ntok,'n',ARGV[2],'e',new,'rv',ARGV[4],'pn',pn,'nonce',ARGV[3],'at',str(t))
if ARGV[2]=='' then call('HDEL',KEYS[1],'tok') end  -- an empty token must never match
if ARGV[5]~='' then call('XTRIM',KEYS[2],'MINID',ARGV[5]) end
return {1,ntok,ARGV[2],new,ARGV[4],pn,rest()}
)lua";

// KEYS 1 {c:s}:o    returns {token, owner, epoch, rv, previous owner}, '' for what is not there
constexpr std::string_view read_owner = R"lua(
local r=redis.call('HMGET',KEYS[1],'tok','n','e','rv','pn')
return {r[1] or '',r[2] or '',r[3] or '0',r[4] or '0',r[5] or ''}
)lua";

// Invariant: a session that ended is never made again.
// KEYS 1 {c}:s:<inc>  2 {c}:v  3 {c}:sus:<inc>    ARGV 1 telemetry  2 ttl ms
// returns {0} or {1, V, votes (or 0), TIME}
constexpr std::string_view renew = R"lua(
if not call('SET',KEYS[1],ARGV[1],'XX','PX',ARGV[2]) then return {0} end
return {1,call('GET',KEYS[2]) or '0',call('HLEN',KEYS[3]),call('TIME')}
)lua";

// Invariant: one member per name (and one shadow), of this cluster, and no incarnation a second
// time.
// KEYS 5 {c}:s:<inc>  6 {c}:cfg
// ARGV 1 inc  2 WARM or SHADOW  3 name  4 rest of the row  5 fingerprint
//      6 known cluster id ('' = none)  7 cluster id to create ('' = must exist)  8 telemetry  9 ttl
// returns {'OK', V, cluster id, table, strikes} or EMPTY, OTHER id, CONFIG fingerprint, SPENT,
//      NAME holder
constexpr std::string_view join = R"lua(
local c=call('HMGET',KEYS[6],'id','fp')
if not c[1] then
  if ARGV[6]~='' or ARGV[7]=='' then return {'EMPTY'} end
  c={ARGV[7],ARGV[5]}
  call('HSET',KEYS[6],'id',c[1],'fp',c[2])
end
if ARGV[6]~='' and ARGV[6]~=c[1] then return {'OTHER',c[1]} end
if ARGV[5]~=c[2] then return {'CONFIG',c[2]} end
call('ZREMRANGEBYSCORE',KEYS[4],'-inf',now()-600000)
local strikes=0
for _,x in ipairs(call('ZRANGE',KEYS[4],0,-1)) do
  local inc,name,why=string.match(x,'^(%S+) (%S+) (%S+)')
  if inc==ARGV[1] then return {'SPENT'} end
  if name==ARGV[3] and why=='EVICT' then strikes=strikes+1 end
end
local row=call('HGET',KEYS[1],ARGV[1])
if row and call('EXISTS',KEYS[5])==0 then return {'SPENT'} end
if not row then                                  -- else a repeat: answered as the first time
  local twin=find(ARGV[3],ARGV[2]=='SHADOW' and 'SHADOW' or nil)
  if twin then return {'NAME',twin} end
  call('SET',KEYS[5],ARGV[8],'PX',ARGV[9])
  call('HSET',KEYS[1],ARGV[1],ARGV[2]..' '..ARGV[3]..' '..ARGV[4])
  bump('JOIN '..ARGV[2]..' '..ARGV[1]..' '..ARGV[3])
end
return {'OK',call('GET',KEYS[2]),c[1],call('HGETALL',KEYS[1]),strikes}
)lua";

// Invariant: only a member with a session changes its state, and one UP member per name.
// KEYS 5 {c}:s:<inc>    ARGV 1 inc  2 UP, LEAVING or GONE
// returns {'OK', V} or NOSESSION, NAME holder, BAD state
constexpr std::string_view set_state = R"lua(
local row=call('HGET',KEYS[1],ARGV[1])
if not row or call('EXISTS',KEYS[5])==0 then return {'NOSESSION'} end
if ARGV[2]=='GONE' then return {'OK',drop(ARGV[1],KEYS[5],'LEAVE')} end
local st,name,rest=string.match(row,'^(%S+) (%S+)(.*)$')
if st==ARGV[2] then return {'OK',call('GET',KEYS[2])} end
local twin=ARGV[2]=='UP' and find(name,'UP')
if twin then return {'NAME',twin} end
if ARGV[2]~='UP' and not (ARGV[2]=='LEAVING' and st=='UP') then return {'BAD',st} end
call('HSET',KEYS[1],ARGV[1],ARGV[2]..' '..name..rest)
return {'OK',bump(ARGV[2]..' '..ARGV[1]..(ARGV[2]=='LEAVING' and promote(name) or ''))}
)lua";

// Invariant: nobody is evicted by one voice (N > 2), by condemned voices alone, or when half of the
// members look dead at once: that is a network and not nodes. Silence alone evicts at most a third
// in 10 s.
// KEYS 5 {c}:s:<voter>  6 {c}:s:<target>  7 {c}:sus:<target>  8 {c}:cond  9 {c}:evq
// ARGV 1 voter  2 target  3 q (quiet) or d (no responders)  4 T_hold in ms
// returns {'EVICTED', V} or VOTED votes need, WAIT ms, BRAKE mass/voters/budget, GONE V, NOSESSION
constexpr std::string_view evict = R"lua(
local voter,target,evidence,hold,fresh,t=ARGV[1],ARGV[2],ARGV[3],tonumber(ARGV[4]),1000,now()
if call('EXISTS',KEYS[5])==0 then return {'NOSESSION'} end
if call('HEXISTS',KEYS[1],target)==0 then return {'GONE',call('GET',KEYS[2]) or '0'} end
local n=call('HLEN',KEYS[1])
local need=n>2 and 2 or 1
local function parse(vote)                       -- evidence, first and last time; nothing if it is stale
  local e,first,last=string.match(vote or '','^(%a)(%d+) (%d+)$')
  if e and t-last<=fresh and t>=tonumber(last) then return e,first end
end
local _,since=parse(call('HGET',KEYS[7],voter))  -- a vote repeated in time keeps its beginning
call('HSET',KEYS[7],voter,evidence..(since or str(t))..' '..str(t))
call('PEXPIRE',KEYS[7],fresh)
for i=8,9 do call('ZREMRANGEBYSCORE',KEYS[i],'('..str(t),'+inf') end  -- left over from a clock set back
local votes,dead,good=0,0,{}                     -- good: when each voter that is not condemned began
local all=call('HGETALL',KEYS[7])
for i=1,#all,2 do
  local e,first=parse(all[i+1])
  if not e then call('HDEL',KEYS[7],all[i])
  else
    votes=votes+1
    if e=='d' then dead=dead+1 end
    local bad=call('ZSCORE',KEYS[8],all[i])
    if not bad or t-bad>fresh then good[#good+1]=tonumber(first) end
  end
end
if votes<need then
  call('ZREM',KEYS[8],target)
  return {'VOTED',votes,need}
end
call('ZADD',KEYS[8],t,target)
call('ZREMRANGEBYSCORE',KEYS[8],'-inf',t-fresh-1)
if n>2 and 2*call('ZCARD',KEYS[8])>=n then return {'BRAKE','mass'} end
if #good<need then return {'BRAKE','voters'} end
table.sort(good)
if t<good[need]+hold then return {'WAIT',good[need]+hold-t} end
if dead<need then
  call('ZREMRANGEBYSCORE',KEYS[9],'-inf',t-10000)
  if call('ZCARD',KEYS[9])>=math.max(1,math.floor(n/3)) then return {'BRAKE','budget'} end
  call('ZADD',KEYS[9],t,target)
end
call('DEL',KEYS[7])
call('ZREM',KEYS[8],target)
return {'EVICTED',drop(target,KEYS[6],'EVICT by '..voter)}
)lua";

// KEYS 5 {c}:s:<target>    ARGV 1 target    returns {'REAPED', V} or ALIVE, GONE V
constexpr std::string_view reap = R"lua(
if call('EXISTS',KEYS[5])==1 then return {'ALIVE'} end
local v=drop(ARGV[1],KEYS[5],'REAP')
return {v and 'REAPED' or 'GONE',v or call('GET',KEYS[2]) or '0'}
)lua";

// KEYS 1 {c}:sus:<target>    ARGV 1 voter
constexpr std::string_view withdraw_vote = R"lua(
return redis.call('HDEL',KEYS[1],ARGV[1])
)lua";

// KEYS 1 {c}:m  2 {c}:v    returns {V, table}
constexpr std::string_view read_view = R"lua(
return {redis.call('GET',KEYS[2]) or '0',redis.call('HGETALL',KEYS[1])}
)lua";

// KEYS sessions    returns 1 or 0 for each
constexpr std::string_view sessions = R"lua(
local alive={}
for i=1,#KEYS do alive[i]=redis.call('EXISTS',KEYS[i]) end
return alive
)lua";

// KEYS 1 {c}:cfg    returns {fingerprint, cluster id}
constexpr std::string_view read_cluster = R"lua(
local c=redis.call('HMGET',KEYS[1],'fp','id')
return {c[1] or '',c[2] or ''}
)lua";

// Prelude of every script on state. Invariant: nothing behind it runs unless KEYS 1, the owner
// record, holds the caller's token. An absent token is never equal, nor is an empty one.
constexpr std::string_view fence = R"lua(
local call,p=redis.call,2
local token=call('HGET',KEYS[1],'tok')
if ARGV[1]=='' or token~=ARGV[1] then return {'FENCED',token or ''} end
local function list(width)                       -- steps over a counted list; its first and last position
  local first=p+1
  p=first+width*tonumber(ARGV[p])
  return first,p-1
end
)lua";

// Invariant: each entity's commit is all or nothing, at the version its owner knew, and no
// operation is recorded twice. The next version names the commit, so that it may be sent any number
// of times.
// KEYS 1 owner, 2 outbox, 3 timers, 4 timer messages, 5 sources;
//      per entity: state, ops, older ops, saga ops, log
// ARGV 1 token;
//      per entity: expected v, next v, ttl, rotate, ops ttl, saga ttl, trim, then eight counted lists:
//      fields (name, value)  ops (id, record)  saga ops (id, record or '' to forget)  log (blob)
//      timers (name, due or '' to cancel, message)  outbox (blob)  sources (saga shard, epoch)
//      fired (name, due)
// returns per entity {'OK', stream id …}, {'ALREADY'}, {'CONFLICT', v}, {'TIMER', name} or
// {'DUP', id, record, …}
constexpr std::string_view shard_commit = R"lua(
local k,replies=6,{}
while ARGV[p] do
  local state,ops,older,saga,log=unpack(KEYS,k,k+4)
  local expected,next,ttl,rotate,opsttl,sagattl,trim=unpack(ARGV,p,p+6)
  k,p=k+5,p+7
  local f,fz=list(2)
  local o,oz=list(2)
  local s,sz=list(2)
  local l,lz=list(1)
  local t,tz=list(3)
  local b,bz=list(1)
  local q,qz=list(2)
  local h,hz=list(2)
  local v,reply=call('HGET',state,'v') or '',{'OK'}
  local function check(id,record)
    if record then reply[1]='DUP' reply[#reply+1]=id reply[#reply+1]=record end
  end
  if v==next then reply={'ALREADY'}
  elseif v~=expected then reply={'CONFLICT',v}
  else
    for i=h,hz,2 do
      local due=call('ZSCORE',KEYS[3],ARGV[i])
      if not due or tonumber(due)~=tonumber(ARGV[i+1]) then reply={'TIMER',ARGV[i]} break end
    end
  end
  if reply[1]=='OK' then
    if oz-o==1 then check(ARGV[o],call('HGET',ops,ARGV[o]) or call('HGET',older,ARGV[o]))
    elseif o<oz then
      local ids={}
      for i=o,oz,2 do ids[#ids+1]=ARGV[i] end
      local new,old=call('HMGET',ops,unpack(ids)),call('HMGET',older,unpack(ids))
      for i,id in ipairs(ids) do check(id,new[i] or old[i]) end
    end
    for i=s,sz,2 do check(ARGV[i],ARGV[i+1]~='' and call('HGET',saga,ARGV[i])) end
  end
  if reply[1]=='OK' then
    call('HSET',state,'v',next,unpack(ARGV,f,fz))
    if ttl=='0' then call('PERSIST',state) elseif ttl~='' then call('PEXPIRE',state,ttl) end
    if rotate=='1' then call('UNLINK',older) end
    if rotate=='1' and call('EXISTS',ops)==1 then call('RENAME',ops,older) end
    if o<=oz then call('HSET',ops,unpack(ARGV,o,oz)) end
    if opsttl~='' then call('PEXPIRE',ops,opsttl) end
    for i=s,sz,2 do
      if ARGV[i+1]=='' then call('HDEL',saga,ARGV[i]) else call('HSET',saga,ARGV[i],ARGV[i+1]) end
    end
    if sagattl~='' then call('PEXPIRE',saga,sagattl) end
    if l<=lz then call('RPUSH',log,unpack(ARGV,l,lz)) end
    if trim~='0' then call('LTRIM',log,trim,-1) end
    for i=t,tz,3 do
      if ARGV[i+1]=='' then call('ZREM',KEYS[3],ARGV[i]) call('HDEL',KEYS[4],ARGV[i])
      else call('ZADD',KEYS[3],ARGV[i+1],ARGV[i]) call('HSET',KEYS[4],ARGV[i],ARGV[i+2]) end
    end
    for i=b,bz do reply[#reply+1]=call('XADD',KEYS[2],'*','b',ARGV[i]) end
    for i=q,qz,2 do call('HSET',KEYS[5],ARGV[i],ARGV[i+1]) end
  end
  replies[#replies+1]=reply
end
return replies
)lua";

// Writes nothing.
// KEYS 1 owner, 2 state, 3 ops, 4 older ops, 5 saga ops, 6 log
// ARGV 1 token, 2 most ids to return whole; then the operation ids waiting to run
// returns {'OK', fields, log, ids in ops and older, {ops, older, saga ops} or {}, record or nil per id asked, ids in saga ops}
constexpr std::string_view entity_load = R"lua(
local size,saga,tables,found=call('HLEN',KEYS[3])+call('HLEN',KEYS[4]),call('HLEN',KEYS[5]),{},{}
if size+saga<=tonumber(ARGV[2]) then for i=3,5 do tables[i-2]=call('HGETALL',KEYS[i]) end end
for i=3,#ARGV do
  found[i-2]=call('HGET',KEYS[3],ARGV[i]) or call('HGET',KEYS[4],ARGV[i]) or call('HGET',KEYS[5],ARGV[i])
end
local from=call('HGET',KEYS[2],'b')
return {'OK',call('HGETALL',KEYS[2]),from and call('LRANGE',KEYS[6],from,-1) or {},size,tables,found,saga}
)lua";

// Writes nothing.
// KEYS 1 owner, 2 outbox    ARGV 1 token, 2 first id ('-', or '(' and the last one seen), 3 most
// returns {'OK', {{id, {'b', blob}}, …}}
constexpr std::string_view read_outbox = R"lua(
return {'OK',call('XRANGE',KEYS[2],ARGV[2],'+','COUNT',ARGV[3])}
)lua";

// KEYS 1 owner, 2 outbox    ARGV 1 token, 2 first id to keep    returns {'OK', entries removed}
constexpr std::string_view trim_outbox = R"lua(
return {'OK',call('XTRIM',KEYS[2],'MINID',ARGV[2])}
)lua";

// Writes nothing.
// KEYS 1 owner, 2 timers, 3 timer messages    ARGV 1 token, 2 due up to (ms), 3 most
// returns {'OK', {member, due, …}, {message, …}}
constexpr std::string_view read_timers = R"lua(
local due=call('ZRANGEBYSCORE',KEYS[2],'-inf',ARGV[2],'WITHSCORES','LIMIT',0,ARGV[3])
local messages={}
for i=1,#due,2 do messages[#messages+1]=call('HGET',KEYS[3],due[i]) or '' end
return {'OK',due,messages}
)lua";

// Gives an id without a time a time that its repeats share.
// KEYS 1 owner, 2.. day tables: the one to write, then others that may know it
// ARGV 1 token, 2 operation id, 3 now, 4 ttl of a table, 5 most ids in one
// returns {'OK', time} or {'FULL'}
constexpr std::string_view first_seen = R"lua(
for i=2,#KEYS do
  local at=call('HGET',KEYS[i],ARGV[2])
  if at then return {'OK',at} end
end
local size=call('HLEN',KEYS[2])
if size>=tonumber(ARGV[5]) then return {'FULL'} end
call('HSET',KEYS[2],ARGV[2],ARGV[3])
if size==0 then call('PEXPIRE',KEYS[2],ARGV[4]) end
return {'OK',ARGV[3]}
)lua";

// KEYS 1 owner, 2 sequence, 3 index    ARGV 1 token, 2 index member, 3 now, 4 cap, 5 expected length; then letters
// returns {'OK' | 'CONFLICT' | 'FULL', length}
constexpr std::string_view dead_letter = R"lua(
local length=call('LLEN',KEYS[2])
if length~=tonumber(ARGV[5]) then return {'CONFLICT',length} end
if length+#ARGV-5>tonumber(ARGV[4]) then return {'FULL',length} end
call('ZADD',KEYS[3],'NX',ARGV[3],ARGV[2])
return {'OK',call('RPUSH',KEYS[2],unpack(ARGV,6))}
)lua";

// Writes nothing. Names are known only after a first call, so lengths come with a second.
// KEYS 1 owner, 2 index; then sequences    ARGV 1 token
// returns {'OK', {member, since, …}, {length, …}}
constexpr std::string_view letter_boxes = R"lua(
local lengths={}
for i=3,#KEYS do lengths[i-2]=call('LLEN',KEYS[i]) end
return {'OK',call('ZRANGE',KEYS[2],0,-1,'WITHSCORES'),lengths}
)lua";

// Writes nothing.
// KEYS 1 owner, 2 sequence    ARGV 1 token, 2 first, 3 last, -1 being the end    returns {'OK', {letter, …}}
constexpr std::string_view read_letters = R"lua(
return {'OK',call('LRANGE',KEYS[2],ARGV[2],ARGV[3])}
)lua";

// KEYS 1 owner, 2 sequence, 3 index, of tells 4 their bytes    ARGV 1 token, 2 letter, 3 index member
// returns {'OK', length}
constexpr std::string_view take_letter = R"lua(
if call('LINDEX',KEYS[2],0)==ARGV[2] then
  call('LPOP',KEYS[2])
  if KEYS[4] and call('DECRBY',KEYS[4],#ARGV[2])<=0 then call('DEL',KEYS[4]) end
end
local length=call('LLEN',KEYS[2])
if length==0 then call('ZREM',KEYS[3],ARGV[3]) end
return {'OK',length}
)lua";

// The entry leaves the outbox in the same step: while it is there it was not parked, and afterwards it was.
// KEYS 1 owner, 2 sequence, 3 index, 4 bytes of tells, 5 outbox
// ARGV 1 token, 2 index member, 3 now, 4 cap, 5 cap of bytes, 6 entry, 7 letter
// returns {'OK' | 'ALREADY' | 'FULL', length}
constexpr std::string_view park_tell = R"lua(
local length=call('LLEN',KEYS[2])
if #call('XRANGE',KEYS[5],ARGV[6],ARGV[6])==0 then return {'ALREADY',length} end
local bytes=tonumber(call('GET',KEYS[4]) or '0')+#ARGV[7]
if length>=tonumber(ARGV[4]) or bytes>tonumber(ARGV[5]) then return {'FULL',length} end
call('XDEL',KEYS[5],ARGV[6])
call('SET',KEYS[4],string.format('%d',bytes))
call('ZADD',KEYS[3],'NX',ARGV[3],ARGV[2])
return {'OK',call('RPUSH',KEYS[2],ARGV[7])}
)lua";

// The same for a timer, which may have been set anew meanwhile.
// KEYS 1 owner, 2 sequence, 3 index, 4 bytes of tells and timers, 5 timers, 6 their messages
// ARGV 1 token, 2 index member, 3 now, 4 cap, 5 cap of bytes, 6 timer, 7 due, 8 letter
// returns {'OK' | 'ALREADY' | 'FULL', length}
constexpr std::string_view park_timer = R"lua(
local length=call('LLEN',KEYS[2])
local due=call('ZSCORE',KEYS[5],ARGV[6])
if not due or tonumber(due)~=tonumber(ARGV[7]) then return {'ALREADY',length} end
local bytes=tonumber(call('GET',KEYS[4]) or '0')+#ARGV[8]
if length>=tonumber(ARGV[4]) or bytes>tonumber(ARGV[5]) then return {'FULL',length} end
call('ZREM',KEYS[5],ARGV[6])
call('HDEL',KEYS[6],ARGV[6])
call('SET',KEYS[4],string.format('%d',bytes))
call('ZADD',KEYS[3],'NX',ARGV[3],ARGV[2])
return {'OK',call('RPUSH',KEYS[2],ARGV[8])}
)lua";

struct Text {
  Script script;
  std::string_view name, head, first_prelude, second_prelude, body;
};

constexpr std::array<Text, script_count> texts{{
    {Script::own, "own", any_memory, time_prelude, "", own},
    {Script::read_owner, "read_owner", any_memory, "", "", read_owner},
    {Script::renew, "renew", any_memory, time_prelude, "", renew},
    {Script::join, "join", any_memory, time_prelude, view_prelude, join},
    {Script::set_state, "set_state", any_memory, time_prelude, view_prelude, set_state},
    {Script::evict, "evict", any_memory, time_prelude, view_prelude, evict},
    {Script::reap, "reap", any_memory, time_prelude, view_prelude, reap},
    {Script::withdraw_vote, "withdraw_vote", any_memory, "", "", withdraw_vote},
    {Script::read_view, "read_view", any_memory, "", "", read_view},
    {Script::sessions, "sessions", any_memory, "", "", sessions},
    {Script::read_cluster, "read_cluster", any_memory, "", "", read_cluster},
    {Script::shard_commit, "shard_commit", needs_memory, fence, "", shard_commit},
    {Script::entity_load, "entity_load", any_memory, fence, "", entity_load},
    {Script::read_outbox, "read_outbox", any_memory, fence, "", read_outbox},
    {Script::trim_outbox, "trim_outbox", any_memory, fence, "", trim_outbox},
    {Script::read_timers, "read_timers", any_memory, fence, "", read_timers},
    {Script::saga_create, "saga_create", needs_memory, fence, "", saga_script::create},
    {Script::saga_load, "saga_load", any_memory, fence, "", saga_script::load},
    {Script::saga_commit, "saga_commit", needs_memory, fence, "", saga_script::commit},
    {Script::fenced, "fenced", any_memory, fence, "", saga_script::fenced},
    {Script::saga_list, "saga_list", any_memory, fence, "", saga_script::read_list},
    {Script::saga_headers, "saga_headers", any_memory, fence, "", saga_script::read_headers},
    {Script::saga_overview, "saga_overview", any_memory, fence, "", saga_script::overview},
    {Script::first_seen, "first_seen", needs_memory, fence, "", first_seen},
    {Script::dead_letter, "dead_letter", needs_memory, fence, "", dead_letter},
    {Script::letter_boxes, "letter_boxes", any_memory, fence, "", letter_boxes},
    {Script::read_letters, "read_letters", any_memory, fence, "", read_letters},
    {Script::take_letter, "take_letter", any_memory, fence, "", take_letter},
    {Script::park_tell, "park_tell", needs_memory, fence, "", park_tell},
    {Script::park_timer, "park_timer", needs_memory, fence, "", park_timer},
}};

const Text& entry_of(Script script) {
  const Text& text = texts[static_cast<std::size_t>(script)];
  assert(text.script == script);
  return text;
}

}  // namespace

std::string_view name_of(Script script) { return entry_of(script).name; }

std::string text_of(Script script) {
  const Text& text = entry_of(script);
  std::string whole;
  for (const auto part : {text.head, text.first_prelude, text.second_prelude, text.body})
    whole += part;
  return whole;
}

}  // namespace catga
