def of_offer(resources, offer_id, ids):
    return [r for r in resources if r["offer_id"] == offer_id or r["resource_id"] in ids]
