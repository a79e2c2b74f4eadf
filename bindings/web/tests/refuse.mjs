Cache.prototype.put = () => Promise.reject(new DOMException('there is no room', 'QuotaExceededError'));
